"""Latency of a device left out, from tables of other devices and ten of its networks: rank correlation and error.

    python benchmarks/few_shot_latency.py ../shared/data/nas [--draws 20]

The folder has help_ofa_latency.npz (HELP: 5,000 Once-for-All networks on two GPUs at three batch sizes) and
accel_nasbench.csv (Accel-NASBench: 5,125 networks on GPUs, TPUs and FPGAs). Prints Markdown.

The tables of known devices are fitted to 2,000 rows. The networks that are timed, and those that the result is judged
on, are others. A device's own table, fitted to 2,000 of its rows, is the ceiling: the rest is noise, or no sum over
blocks.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

import ofa
from ofa.predictors.costs.parts import Part
from ofa.predictors.costs.regression import fit_costs
from ofa.predictors.costs.table import Table
from ofa.predictors.costs.transfer import farthest_apart, transfer_latency
from ofa.supernet.genome import Genome

ROWS = 2000
SAMPLES = (10, 20)
Fit = Callable[[Genome, np.ndarray, np.ndarray, str], Table]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}\n")
    leave_out(options.folder / "help_ofa_latency.npz", fit_subnets, help_hardware, (), options.draws)
    print()
    counts = ("macs", "params")
    leave_out(options.folder / "accel_nasbench.csv", fit_choices, accel_hardware, counts, options.draws)


def fit_subnets(space: Genome, codes: np.ndarray, values: np.ndarray, name: str) -> Table:
    return fit_costs(space, codes, values, name=name)


def fit_choices(space: Genome, codes: np.ndarray, values: np.ndarray, name: str) -> Table:
    """A part for each block of four genes: ridge regression of relative errors on which of its options is chosen."""
    blocks = [tuple(range(first, first + 4)) for first in range(0, space.num_genes, 4)]
    shapes = [tuple(space.num_options[list(block)]) for block in blocks]
    sizes = [int(np.prod(shape)) for shape in shapes]
    inputs = np.column_stack(
        [
            np.eye(size)[np.ravel_multi_index(tuple(codes[:, list(block)].T), shape)]
            for block, shape, size in zip(blocks, shapes, sizes, strict=True)
        ]
    )
    model = Ridge(alpha=0.1).fit(inputs, values, sample_weight=(values.mean() / values) ** 2)
    costs = np.split(model.coef_, np.cumsum(sizes)[:-1])
    parts = tuple(Part(block, part.reshape(shape)) for block, part, shape in zip(blocks, costs, shapes, strict=True))
    return Table(space, name, "ms", parts, intercept=float(model.intercept_))


def help_hardware(device: str) -> str:
    return device.partition("_")[0]


def accel_hardware(device: str) -> str:
    return device.rpartition("_")[2]


def leave_out(path: Path, fit: Fit, hardware: Callable[[str], str], counts: tuple[str, ...], draws: int) -> None:
    """Each device from all columns of other hardware, and from those that differ in the batch size, too."""
    benchmark = ofa.load_benchmark(path)
    values = {name: cost.predict(benchmark.codes) for name, cost in benchmark.costs.items() if name != "train_time"}
    whole = np.all([np.isfinite(column) for column in values.values()], axis=0)
    codes, values = benchmark.codes[whole], {name: column[whole] for name, column in values.items()}
    order = np.random.default_rng(0).permutation(len(codes))
    fitted, others = order[:ROWS], order[ROWS:]
    tables = {name: fit(benchmark.space, codes[fitted], column[fitted], name) for name, column in values.items()}
    devices = [name for name in values if name not in counts]
    print(
        f"{benchmark.name}: {len(codes):,} networks, {len(others):,} of them to time and to judge on; {draws} draws.\n"
    )
    print("| device left out | pool | ceiling | MACs alone | best known table, in hindsight | MAPE at 10 |", end="")
    print("".join(f" {count} random | {count} spread |" for count in SAMPLES))
    print("|---" * (6 + 2 * len(SAMPLES)) + "|")
    macs = _macs(benchmark, codes[others])
    for device in devices:
        truth = values[device][others]
        pools = {"other hardware": [name for name in devices if hardware(name) != hardware(device)]}
        if not counts:
            pools["and other batch"] = [
                name for name in pools["other hardware"] if name.partition("_")[2] != device.partition("_")[2]
            ]
        for pool_name, pool in pools.items():
            known = [tables[name] for name in (*pool, *counts)]
            cells = [
                device,
                pool_name,
                f"{_spearman(tables[device].predict(codes[others]), truth):.3f}",
                f"{_spearman(macs, truth):.3f}",
                f"{max(_spearman(tables[name].predict(codes[others]), truth) for name in pool):.3f}",
            ]
            found = {
                (count, spread): np.array(
                    [_one_draw(known, codes[others], truth, count, spread, seed) for seed in range(draws)]
                )
                for count in SAMPLES
                for spread in (False, True)
            }
            cells.append(f"{found[10, True][:, 1].mean():.1%}")
            for ranks in found.values():
                cells.append(f"{ranks[:, 0].mean():.3f} ± {ranks[:, 0].std():.3f}")
            print(f"| {' | '.join(cells)} |", flush=True)


def _one_draw(
    known: list[Table], codes: np.ndarray, truth: np.ndarray, count: int, spread: bool, seed: int
) -> tuple[float, float]:
    """Spearman's rank correlation and MAPE on the networks that were not timed."""
    rng = np.random.default_rng([7, seed])
    among = rng.choice(len(codes), 1000, replace=False)
    timed = among[farthest_apart(known, codes[among], count, rng=rng)] if spread else among[:count]
    table = transfer_latency(known, codes[timed], truth[timed])
    rest = np.setdiff1d(np.arange(len(codes)), timed)
    predicted = table.predict(codes[rest])
    return _spearman(predicted, truth[rest]), float(np.mean(np.abs(predicted / truth[rest] - 1)))


def _macs(benchmark: object, codes: np.ndarray) -> np.ndarray:
    if "macs" in benchmark.costs:
        return benchmark.costs["macs"].predict(codes)
    return ofa.CostTable.macs(benchmark.space, num_classes=1000).predict(codes)


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    return float(spearmanr(one, other).statistic)


if __name__ == "__main__":
    main()
