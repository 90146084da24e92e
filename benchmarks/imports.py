"""Measures how well interpolated look-up tables and tables fitted to others' measurements predict unseen networks.

    python benchmarks/imports.py ../shared/data/nas

The folder has note10_latency/*.yaml (the look-up tables published with Once-for-All) and help_ofa_latency.npz (HELP's
latencies of 5,000 OFA MobileNetV3 networks on two GPUs at three batch sizes). Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.imported import published_table
from ofa.predictors.costs.regression import fit_costs
from ofa.supernet.space import SearchSpace, Subnet

ROWS = (100, 300, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", type=int, default=3)
    options = parser.parse_args()
    tables = sorted((options.folder / "note10_latency").glob("*.yaml"))
    latencies = options.folder / "help_ofa_latency.npz"
    if not tables or not latencies.exists():
        raise SystemExit(
            f"{options.folder} needs note10_latency/*.yaml and help_ofa_latency.npz, see the top of this file"
        )
    look_up_tables(tables)
    print()
    space = SearchSpace.preset("ofa_mbv3")
    codes, devices = read(space, latencies)
    regression(space, codes, devices, options.splits)
    print()
    floor(space, codes, devices)


def look_up_tables(paths: list[Path]) -> None:
    """Predicts each published resolution from the other two, for 1,000 random networks."""
    preset = SearchSpace.preset("ofa_mbv3_w1.2").to_dict()
    print("| resolution | ms | from | MAPE | Kendall tau |")
    print("|---|---|---|---|---|")
    for path in paths:
        side = int(path.name.partition("_")[0])
        space = SearchSpace.from_dict({**preset, "resolutions": [side]})
        codes = space.sample(1000, np.random.default_rng(0))
        truth = published_table(space, [path]).predict(codes)
        others = [other for other in paths if other != path]
        predicted = published_table(space, others, extrapolate=True).predict(codes)
        names = " and ".join(other.name.partition("_")[0] for other in others)
        error, tau = quality(predicted, truth)
        print(f"| {side} | {truth.min():.0f} to {truth.max():.0f} | {names} | {error:.1%} | {tau:.3f} |")


def read(space: SearchSpace, path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Codes of the networks, and their latencies on each device."""
    with np.load(path, allow_pickle=False) as data:
        choices = [data[name].tolist() for name in ("resolution", "depths", "kernels", "expands")]
        devices = {name: data[name].astype(float) for name in data.files if "_" in name}
    codes = np.stack([space.encode(Subnet(row[0], *map(tuple, row[1:]))) for row in zip(*choices, strict=True)])
    return codes, devices


def regression(space: SearchSpace, codes: np.ndarray, devices: dict[str, np.ndarray], splits: int) -> None:
    """Errors of tables that are fitted to some rows, on all others."""
    one_hot = space.one_hot(codes)
    print("| device and batch | rows | MAPE | as cross-validated | Kendall tau | plain one-hot ridge | fit (s) |")
    print("|---|---|---|---|---|---|---|")
    for device, values in devices.items():
        for rows in ROWS:
            found = []
            for seed in range(splits):
                order = np.random.default_rng(seed).permutation(len(codes))
                fitted, held_out = order[:rows], order[rows:]
                start = time.perf_counter()
                table = fit_costs(space, codes[fitted], values[fitted], seed=seed)
                seconds = time.perf_counter() - start
                plain = RidgeCV(np.logspace(-2, 3, 11)).fit(one_hot[fitted], values[fitted])
                found.append(
                    [
                        *quality(table.predict(codes[held_out]), values[held_out]),
                        table.info["quality"]["mape"],
                        *quality(plain.predict(one_hot[held_out]), values[held_out]),
                        seconds,
                    ]
                )
            error, tau, promised, plain_error, plain_tau, seconds = np.mean(found, axis=0)
            print(
                f"| {device} | {rows} | {error:.1%} | {promised:.1%} | {tau:.3f} | {plain_error:.1%}, "
                f"{plain_tau:.3f} | {seconds:.1f} |",
                flush=True,
            )


def floor(space: SearchSpace, codes: np.ndarray, devices: dict[str, np.ndarray]) -> None:
    """Errors of a model that need not be a sum, fitted to four fifths of the rows: a bound for the data's noise."""
    counts = [getattr(CostTable, name)(space, num_classes=1000).predict(codes) for name in ("macs", "params")]
    inputs = np.column_stack([space.one_hot(codes), space.active(codes).sum(axis=1), codes[:, 0], *counts])
    order = np.random.default_rng(0).permutation(len(codes))
    fitted, held_out = np.split(order, [len(codes) * 4 // 5])
    print(f"| device and batch | {len(fitted)} rows: the table | gradient boosting |")
    print("|---|---|---|")
    for device, values in devices.items():
        table = fit_costs(space, codes[fitted], values[fitted])
        model = HistGradientBoostingRegressor(loss="absolute_error", max_iter=200, learning_rate=0.05, random_state=0)
        model.fit(inputs[fitted], values[fitted])
        found = (
            quality(predicted, values[held_out])
            for predicted in (table.predict(codes[held_out]), model.predict(inputs[held_out]))
        )
        cells = " | ".join(f"{error:.1%}, {tau:.3f}" for error, tau in found)
        print(f"| {device} | {cells} |", flush=True)


def quality(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """MAPE and Kendall tau."""
    return float(np.mean(np.abs(predicted - truth) / truth)), float(kendalltau(predicted, truth).statistic)


if __name__ == "__main__":
    main()
