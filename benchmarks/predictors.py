"""How well accuracy predictors rank the published OFA MobileNetV3 networks that they were not fitted on.

    python benchmarks/predictors.py ofa_mbv3_w1.0_imagenet.csv

The file has the columns resolution, depths, kernels, expands (dash-joined) and top1. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from ofa.predictors.accuracy import AccuracyPredictor
from ofa.supernet.space import SearchSpace, Subnet


def read(space: SearchSpace, path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    subnets = [
        Subnet(
            int(row["resolution"]), *(tuple(map(int, row[key].split("-"))) for key in ("depths", "kernels", "expands"))
        )
        for row in rows
    ]
    return np.stack([space.encode(subnet) for subnet in subnets]), np.array([float(row["top1"]) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--splits", type=int, default=3)
    arguments = parser.parse_args()
    space = SearchSpace.preset("ofa_mbv3")
    codes, accuracy = read(space, arguments.csv)
    # A network that is in the file twice must not be fitted on and then asked for.
    codes, first = np.unique(codes, axis=0, return_index=True)
    accuracy = accuracy[first]
    many = space.sample(100_000, np.random.default_rng(0))

    print(f"{len(codes)} distinct networks, top-1 {accuracy.min():.2f} to {accuracy.max():.2f} %.")
    print(f"Fitted on random rows, judged on all others; {arguments.splits} splits; tau as mean (lowest to highest).")
    print()
    print("| kind | rows | Kendall tau | RMSE (points) | within one std | fit (s) | predict 100k (s) |")
    print("|---|---|---|---|---|---|---|")
    for kind in ("gp", "mlp"):
        for rows in (25, 50, 100, 300, 900):
            taus, squares, inside, seconds = [], [], [], []
            for seed in range(arguments.splits):
                order = np.random.default_rng(seed).permutation(len(codes))
                fitted, held_out = order[:rows], order[rows:]
                start = time.perf_counter()
                predictor = AccuracyPredictor(space, kind=kind, seed=seed).fit(codes[fitted], accuracy[fitted])
                seconds.append(time.perf_counter() - start)
                mean, std = predictor.predict(codes[held_out], return_std=True)
                errors = mean - accuracy[held_out]
                taus.append(kendalltau(mean, accuracy[held_out]).statistic)
                squares.append(np.mean(errors**2))
                inside.append(np.mean(np.abs(errors) <= std))
            start = time.perf_counter()
            predictor.predict(many)
            predicting = time.perf_counter() - start
            print(
                f"| {kind} | {rows} | {np.mean(taus):.3f} ({min(taus):.3f} to {max(taus):.3f}) | "
                f"{np.mean(squares) ** 0.5:.3f} | {np.mean(inside):.2f} | {np.mean(seconds):.2f} | {predicting:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
