"""Regret of every search strategy on tables of trained networks, at 25, 50, 100 and 200 queries.

    OMP_NUM_THREADS=1 python benchmarks/nas_methods.py FOLDER ROWS [--strategies evolution random ...] [--seeds 50]
    python benchmarks/nas_methods.py FOLDER ROWS --print > benchmarks/results/nas_methods_tables.md

FOLDER holds nas-bench-macro_cifar10.json, nasbench201_200epochs.csv, nasbench201_12epochs.csv and
ofa_mbv3_w1.0_imagenet.csv. ROWS is a file of one JSON row a run, added to: a run that is in it is not made again.

A query is an evaluated network. On NAS-Bench-201 and NAS-Bench-Macro its score is the accuracy in the table, so a
regret is true. The published subnets of Once-for-All are too few to search among: there the score is what a Gaussian
process fitted to all of them says (a surrogate benchmark), inside a limit on MACs, and the best network is the best
that any run found. ``halving`` takes accuracies after 12 of 200 epochs as cheap scores, each at 12/200 of a query.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nas_data import ofa_mobilenetv3
from search_quality import Asked, Looked, Table, nas_bench_201_codes, tables

import ofa
from ofa.strategies.table import STRATEGIES

QUERIES = (25, 50, 100, 200)
POPULATION, GENERATIONS = 10, 24
CHEAP = 12 / 200  # of a query, for an accuracy after 12 of 200 epochs
MACS_LIMIT = 300e6
COLUMNS_12 = {
    "NAS-Bench-201, CIFAR-10": "cifar10-test",
    "NAS-Bench-201, CIFAR-100": "cifar100-test",
    "NAS-Bench-201, ImageNet16-120": "imagenet-test",
}


class Bench(NamedTuple):
    """A space to search, with ``asked()``, the predictor that records its answers, the best score and limits."""

    name: str
    space: Any
    asked: Callable[[], Any]
    table: Table | None
    best: float
    options: dict[str, Any]


class Surrogate:
    """What a predictor says; records its answers in the order of the calls."""

    def __init__(self, predictor: ofa.AccuracyPredictor) -> None:
        self._predictor, self.answers = predictor, np.empty(0)

    def predict(self, codes: np.ndarray) -> np.ndarray:
        found = self._predictor.predict(codes)
        self.answers = np.concatenate([self.answers, found])
        return found


class Budgeted(Asked):
    """``Asked`` with cheap scores; ``spent`` is the number of queries that each answer was reached after."""

    def __init__(self, table: Table, early: np.ndarray) -> None:
        super().__init__(table)
        self._early, self._total, self.spent = early, 0.0, np.empty(0)

    def predict(self, codes: np.ndarray, budget: float = 1.0) -> np.ndarray:
        if budget < 1:
            self._total += CHEAP * len(codes)
            return self._early[tuple(codes.T)]
        self.spent = np.concatenate([self.spent, self._total + 1 + np.arange(len(codes))])
        self._total += len(codes)
        return super().predict(codes)


def benches(folder: Path) -> list[Bench]:
    found = [
        Bench(
            table.name,
            table.space,
            lambda table=table: Asked(table),
            table,
            table.accuracy.max(),
            {"limits": {}, "objectives": [Looked(table)]},
        )
        for table in tables(folder)
    ]
    rows = ofa_mobilenetv3(folder)
    # All published networks have 224 pixels.
    space = ofa.SearchSpace.from_dict(rows.space.to_dict() | {"resolutions": [224]})
    codes = np.stack([space.encode(rows.space.decode(code)) for code in rows.codes])
    predictor = ofa.AccuracyPredictor(space).fit(codes, rows.accuracy)
    macs = ofa.CostTable.macs(space, num_classes=1000)
    options = {"limits": {macs: MACS_LIMIT}}
    return [*found, Bench("Once-for-All, ImageNet", space, lambda: Surrogate(predictor), None, np.nan, options)]


def run(bench: Bench, strategy: str, seed: int) -> dict[str, Any]:
    """The best score after each number of queries, and the seconds of the whole search (scores included)."""
    asked = bench.asked()
    started = time.process_time()
    settings = {"population": POPULATION, "generations": GENERATIONS, "strategy": strategy, "seed": seed}
    ofa.search(bench.space, asked, **settings, **bench.options)
    seconds = time.process_time() - started
    return _row(bench, strategy, seed, asked.answers, 1 + np.arange(len(asked.answers)), seconds)


def run_halving(bench: Bench, early: np.ndarray, seed: int) -> dict[str, Any]:
    asked = Budgeted(bench.table, early)
    started = time.process_time()
    settings = {"population": 50, "generations": GENERATIONS * 2, "first_budget": CHEAP, "halving_rate": 1 / CHEAP}
    ofa.search(bench.space, asked, strategy="halving", seed=seed, **settings, **bench.options)
    return _row(bench, "halving", seed, asked.answers, asked.spent, time.process_time() - started)


@cache
def early_accuracy(folder: Path, name: str) -> np.ndarray:
    codes, rows = nas_bench_201_codes(folder / "nasbench201_12epochs.csv", "cellstr")
    accuracy = np.full((5,) * 6, np.nan)
    accuracy[tuple(codes.T)] = [float(row[COLUMNS_12[name]]) for row in rows]
    return accuracy


def _row(
    bench: Bench, strategy: str, seed: int, answers: np.ndarray, spent: np.ndarray, seconds: float
) -> dict[str, Any]:
    # A search that ended early keeps what it had; one that has spent more than asked for has nothing yet.
    best = [float(answers[spent <= count].max(initial=answers.min())) for count in QUERIES]
    return {
        "table": bench.name,
        "strategy": strategy,
        "seed": seed,
        "best": best,
        "seconds": seconds,
        "queries": len(answers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--print", action="store_true", help="the tables of what is in ROWS, and no new run")
    options = parser.parse_args()
    found = benches(options.folder)
    if options.print:
        print_tables(found, _read(options.rows))
        return
    done = {(row["table"], row["strategy"], row["seed"]) for row in _read(options.rows)}
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    with options.rows.open("a") as file:
        for seed in range(options.seeds):
            for strategy in options.strategies:
                for bench in found:
                    halves = strategy == "halving"
                    if (bench.name, strategy, seed) in done or (halves and bench.name not in COLUMNS_12):
                        continue
                    row = (
                        run_halving(bench, early_accuracy(options.folder, bench.name), seed)
                        if halves
                        else run(bench, strategy, seed)
                    )
                    file.write(json.dumps(row) + "\n")
                    file.flush()


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_tables(found: list[Bench], rows: list[dict[str, Any]]) -> None:
    for bench in found:
        of_bench = [row for row in rows if row["table"] == bench.name]
        if not of_bench:
            continue
        best = bench.best if np.isfinite(bench.best) else max(row["best"][-1] for row in of_bench)
        print(f"## {bench.name}\n\nThe best network has {best:.2f} %.\n")
        print("| strategy | seeds |" + "".join(f" {count} queries |" for count in QUERIES) + " seconds |")
        print("|---|---|" + "---|" * len(QUERIES) + "---|")
        lines = []
        for strategy in STRATEGIES:
            own = [row for row in of_bench if row["strategy"] == strategy]
            if not own:
                continue
            regrets = best - np.array([row["best"] for row in own])
            errors = regrets.std(axis=0, ddof=1) / len(own) ** 0.5 if len(own) > 1 else np.zeros(len(QUERIES))
            cells = "".join(
                f" {mean:.3f} ± {error:.3f} |" for mean, error in zip(regrets.mean(axis=0), errors, strict=True)
            )
            seconds = float(np.median([row["seconds"] for row in own]))
            lines.append((regrets.mean(axis=0)[2], f"| {strategy} | {len(own)} |{cells} {seconds:.2f} |"))
        print("\n".join(line for _, line in sorted(lines)) + "\n")


if __name__ == "__main__":
    main()
