"""Compares ways to choose a network under simulated measuring noise, on published tables of trained networks.

    python benchmarks/choice_tables.py FOLDER [--seeds 6] [--only macro]

FOLDER: see benchmarks/nas_data.py. A measurement is the table's accuracy plus normal noise, always the same for one
network: with ``--noise 1`` about what 400 validation images tell of accuracy. Regret is the loss of accuracy (points)
against the best network of the table within a limit of MACs, as a mean over limits, noise levels and seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from active_collection import spread
from nas_data import TABLES, Table
from scipy.stats import t as student

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.active import next_batch
from ofa.supernet.integers import ceil_div

BATCH = 20


@dataclass(frozen=True, kw_only=True)
class Way:
    """As in benchmarks/choice_methods.py."""

    collect: str = "spread"
    subnets: int = 100
    candidates: int = 3
    rounds: int = 1
    posterior: bool = False


def ways() -> dict[str, Way]:
    found = {"baseline": Way(), "posterior": Way(posterior=True)}
    for count in (1, 6, 10, 20):
        found[f"{count} candidates"] = Way(candidates=count)
        found[f"{count} candidates, posterior"] = Way(candidates=count, posterior=True)
    found["6 in 3 rounds"] = Way(candidates=6, rounds=3)
    found["6 in 3 rounds, posterior"] = Way(candidates=6, rounds=3, posterior=True)
    for collect in ("random", "log", "active"):
        found[collect] = Way(collect=collect)
        found[f"{collect}, posterior"] = Way(collect=collect, posterior=True)
    for subnets in (50, 200):
        found[f"{subnets} subnets"] = Way(subnets=subnets)
    return found


class Simulation:
    """A table whose accuracies are seen through noise."""

    def __init__(self, table: Table, *, noise: float, seed: int) -> None:
        self.table, self.seed = table, seed
        self.seen = table.accuracy + noise * np.random.default_rng([seed, 1]).standard_normal(len(table.accuracy))
        self._fits: dict[bytes, np.ndarray] = {}

    def predicted(self, rows: np.ndarray) -> np.ndarray:
        key = rows.tobytes()
        if key not in self._fits:
            predictor = AccuracyPredictor(self.table.space).fit(self.table.codes[rows], self.seen[rows])
            self._fits[key] = predictor.predict(self.table.codes)
        return self._fits[key]

    def collected(self, way: Way) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 2])
        if way.collect == "random":
            return rng.permutation(len(self.table.codes))[: way.subnets]
        if way.collect == "log":
            return spread(self.table._replace(macs=np.log(self.table.macs)), way.subnets, rng)
        rows = spread(self.table, way.subnets if way.collect == "spread" else BATCH, rng)
        while len(rows) < way.subnets:
            known = self.table.codes[rows], self.seen[rows], self.table.macs[rows]
            pool = {"pool": self.table.codes, "pool_costs": self.table.macs}
            rows = np.concatenate([rows, next_batch(self.table.space, *known, **pool, n=BATCH, seed=self.seed)])
        return rows

    def regret(self, way: Way, rows: np.ndarray, limit: float) -> float:
        inside = self.table.macs <= limit
        known = rows
        for _ in range(way.rounds):
            predicted = np.where(inside, self.predicted(known), -np.inf)
            predicted[known] = -np.inf
            known = np.concatenate([known, np.argsort(-predicted)[: way.candidates // way.rounds]])
        proposed, best = known[len(rows) :], rows[inside[rows]]
        best = best[np.argsort(-self.seen[best])]
        if way.posterior:
            measured = np.concatenate([proposed, best])
            chosen = measured[self.predicted(known)[measured].argmax()]
        else:
            measured = np.concatenate([proposed, best[: ceil_div(way.candidates, 3)]])
            chosen = measured[self.seen[measured].argmax()]
        return float(self.table.accuracy[inside].max() - self.table.accuracy[chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=TABLES, nargs="+", default=["ofa_mbv3", "macro"])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.3, 1.0])
    arguments = parser.parse_args()
    for name in arguments.only:
        table = TABLES[name](arguments.folder)
        limits = np.quantile(table.macs, [0.1, 0.4, 0.8])
        columns = {noise: {way: [] for way in ways()} for noise in arguments.noise}
        for noise in arguments.noise:
            for seed in range(arguments.seeds):
                seen = Simulation(table, noise=noise, seed=seed)
                for key, way in ways().items():
                    rows = seen.collected(replace(way, candidates=3, rounds=1, posterior=False))
                    columns[noise][key].append(np.mean([seen.regret(way, rows, limit) for limit in limits]))
        print(f"\n## {name}\n\n{len(table.codes)} networks, {arguments.seeds} seeds; regret, gain over the baseline\n")
        print("| way | " + " | ".join(f"noise {noise:g}" for noise in columns) + " |")
        print("|---" * (1 + len(columns)) + "|")
        for key in ways():
            print(f"| {key} | " + " | ".join(_cell(by_way, key) for by_way in columns.values()) + " |", flush=True)


def _cell(by_way: dict[str, list[float]], key: str) -> str:
    gains = np.array(by_way["baseline"]) - np.array(by_way[key])
    half = student.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains))
    return f"{np.mean(by_way[key]):.3f}, {gains.mean():+.3f} ±{half:.3f}"


if __name__ == "__main__":
    main()
