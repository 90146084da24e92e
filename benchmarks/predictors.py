"""Measures how well accuracy predictors rank unseen networks, on published tables.

    python benchmarks/predictors.py FOLDER [--only ofa_mbv3] [--splits 5] [--svg benchmarks/results/predictors.svg]

FOLDER holds ofa_mbv3_w1.0_imagenet.csv, accel_nasbench.csv and nas-bench-macro_cifar10.json (benchmarks/nas_data.py).
A third of a table's networks (2,000 at most) is held out, and rows of the rest are fitted. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from nas_data import TABLES, Table
from scipy.stats import kendalltau
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from svg_plot import Panel, write_svg

from ofa.predictors.accuracy.predictor import AccuracyPredictor

ROWS = (25, 50, 100, 300, 900)
KINDS = ("floor", "gp", "mlp", "trees", "auto")
RANKED = {"mlp_ranking": "mlp", "graph_ranking": "graph"}  # fitted to the order of accuracies


class Floor:
    """A simple baseline: a Gaussian process with an RBF kernel over one-hot columns."""

    kind_ = "floor"

    def __init__(self, table: Table) -> None:
        self._space = table.space
        kernel = ConstantKernel(10.0, (1e-3, 1e4)) * RBF(5.0, (0.1, 1e3)) + WhiteKernel(0.05, (1e-5, 10.0))
        self._model = GaussianProcessRegressor(kernel, normalize_y=True)

    def fit(self, codes: np.ndarray, accuracy: np.ndarray) -> Floor:
        self._model.fit(self._space.one_hot(codes), accuracy)
        return self

    def predict(self, codes: np.ndarray, return_std: bool = False) -> Any:
        return self._model.predict(self._space.one_hot(codes), return_std=return_std)


def judge(table: Table, kind: str, rows: int, split: int) -> dict[str, Any]:
    order = np.random.default_rng(split).permutation(len(table.codes))
    held_out = order[: len(order) // 3][:2000]
    fitted = order[len(order) // 3 :][:rows]
    start = time.process_time()
    loss = "ranking" if kind in RANKED else "squares"
    own = AccuracyPredictor(table.space, kind=RANKED.get(kind, kind), loss=loss, seed=split)
    predictor = Floor(table) if kind == "floor" else own
    predictor.fit(table.codes[fitted], table.accuracy[fitted])
    seconds = time.process_time() - start
    mean, std = predictor.predict(table.codes[held_out], return_std=True)
    errors = mean - table.accuracy[held_out]
    return {
        "tau": kendalltau(mean, table.accuracy[held_out]).statistic,
        "square": np.mean(errors**2),
        "inside": np.mean(np.abs(errors) <= std),
        "seconds": seconds,
        "kind": predictor.kind_,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=TABLES)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=(*KINDS, "graph", *RANKED))
    parser.add_argument(
        "--points", type=Path, help="JSON file of tau by table, kind and rows; added to when it is there"
    )
    parser.add_argument("--svg", type=Path, help="draw the points of this run, and those of --points")
    arguments = parser.parse_args()
    points = json.loads(arguments.points.read_text()) if arguments.points and arguments.points.exists() else {}
    for name in [arguments.only] if arguments.only else TABLES:
        table = TABLES[name](arguments.folder)
        print(f"\n## {name}\n")
        print(f"{len(table.codes)} networks, {table.accuracy.min():.2f} to {table.accuracy.max():.2f} %.\n")
        print("| kind | rows | Kendall tau | RMSE (points) | within one std | fit (CPU s) |")
        print("|---|---|---|---|---|---|")
        for kind in arguments.kinds:
            for rows in arguments.rows:
                found = [judge(table, kind, rows, split) for split in range(arguments.splits)]
                taus, squares, inside, seconds, kinds = ([one[key] for one in found] for key in found[0])
                chosen = ", ".join(f"{kind} {count}x" for kind, count in Counter(kinds).most_common())
                print(
                    f"| {f'auto ({chosen})' if kind == 'auto' else kind} | {rows} | {np.mean(taus):.3f} "
                    f"({min(taus):.3f} to {max(taus):.3f}) | {np.mean(squares) ** 0.5:.3f} | {np.mean(inside):.2f} | "
                    f"{np.mean(seconds):.2f} |",
                    flush=True,
                )
                points.setdefault(name, {}).setdefault(kind, {})[str(rows)] = round(float(np.mean(taus)), 4)
    if arguments.points:
        arguments.points.write_text(json.dumps(points, indent=1))
    if arguments.svg:
        panels = [
            Panel(name, {kind: [(float(rows), tau) for rows, tau in line.items()] for kind, line in kinds.items()})
            for name, kinds in points.items()
        ]
        write_svg(arguments.svg, panels, x="rows", y="Kendall tau")


if __name__ == "__main__":
    main()
