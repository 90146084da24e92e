"""Compares active with random and stratified collection at equal numbers of measurements, on published tables.

    python benchmarks/active_collection.py FOLDER [--only macro] [--seeds 5]

FOLDER: see benchmarks/nas_data.py. The pool is the whole table, and the cost is MACs. Regret is the loss of accuracy
(points) against the best network of the table within a limit, as a mean over 20 limits. It is given for the best
measured network, and for the one that a Gaussian process of the measured rows predicts to be the best. Prints Markdown
tables.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from nas_data import TABLES, Table

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.active import best_under_budget, converged, next_batch
from ofa.predictors.metrics import kendall_tau

BATCH, MAX_CALLS = 20, 200
VALUES = ("measured regret", "predicted regret", "tau")
WAYS = ("random", "spread", "active")


def spread(table: Table, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows spread evenly over MACs, as ``collect`` samples them without ``active``."""
    free, rows = np.ones(len(table.macs), bool), []
    for target in np.linspace(table.macs.min(), table.macs.max(), n):
        away = np.abs(table.macs - target) + rng.random(len(free)) * np.ptp(table.macs) / n / 2
        rows.append(np.where(free, away, np.inf).argmin())
        free[rows[-1]] = False
    return np.array(rows)


def regrets(table: Table, rows: np.ndarray, limits: np.ndarray) -> tuple[float, float, float]:
    """Regrets of the best measured and of the best predicted network, and Kendall's tau over the whole table."""
    best = best_under_budget(limits, table.macs, table.accuracy)
    predictor = AccuracyPredictor(table.space, kind="gp").fit(table.codes[rows], table.accuracy[rows])
    predicted = predictor.predict(table.codes)
    taken = [np.where(table.macs <= limit, predicted, -np.inf).argmax() for limit in limits]
    return (
        float(np.mean(best - best_under_budget(limits, table.macs[rows], table.accuracy[rows]))),
        float(np.mean(best - table.accuracy[taken])),
        kendall_tau(predicted, table.accuracy),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else ("ofa_mbv3", "macro"):
        table = TABLES[name](arguments.folder)
        limits = np.linspace(*np.quantile(table.macs, [0.02, 0.98]), 20)
        found: dict[tuple[int, str], list[tuple[float, float, float]]] = {}
        ends = []
        for seed in range(arguments.seeds):
            rng = np.random.default_rng(seed)
            order, rows = rng.permutation(len(table.codes)), spread(table, BATCH, rng)
            ends.append(MAX_CALLS)
            while True:
                n = len(rows)
                for way, some in (("random", order[:n]), ("spread", spread(table, n, rng)), ("active", rows)):
                    found.setdefault((n, way), []).append(regrets(table, some, limits))
                still = n > 2 * BATCH and converged(table.accuracy[rows], table.macs[rows], newest=2 * BATCH)
                ends[-1] = min(ends[-1], n) if still else ends[-1]
                if n >= MAX_CALLS:
                    break
                measured = table.codes[rows], table.accuracy[rows], table.macs[rows]
                pool = {"pool": table.codes, "pool_costs": table.macs}
                rows = np.concatenate([rows, next_batch(table.space, *measured, **pool, n=BATCH, seed=seed)])
        print(f"\n## {name}\n\n{len(table.codes)} networks; mean of {arguments.seeds} seeds; batches of {BATCH}.")
        print(f"The front had settled after {', '.join(map(str, ends))} rows (at most {MAX_CALLS}).\n")
        print("| rows | " + " | ".join(f"{value}: {way}" for value in VALUES for way in WAYS) + " |")
        print("|---" * (1 + len(VALUES) * len(WAYS)) + "|")
        for n in sorted({n for n, _ in found}):
            means = {way: np.mean(found[n, way], axis=0) for way in WAYS}
            print(f"| {n} | " + " | ".join(f"{means[way][i]:.3f}" for i in range(len(VALUES)) for way in WAYS) + " |")


if __name__ == "__main__":
    main()
