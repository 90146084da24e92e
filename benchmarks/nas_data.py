"""Published tables of trained networks, as codes of a space. Their folder is an argument of each benchmark."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.space import SearchSpace, Subnet


class Table(NamedTuple):
    """Distinct networks: codes ``(n, genes)``, accuracy ``(n,)`` in percent, millions of MACs ``(n,)``."""

    space: SearchSpace | CategoricalSpace
    codes: np.ndarray
    accuracy: np.ndarray
    macs: np.ndarray


def ofa_mobilenetv3(folder: Path) -> Table:
    """Subnets of the published OFA MobileNetV3 (width 1.0), ImageNet top-1."""
    space, rows = SearchSpace.preset("ofa_mbv3"), _rows(folder / "ofa_mbv3_w1.0_imagenet.csv")
    lists = ("depths", "kernels", "expands")
    subnets = [Subnet(int(row["resolution"]), *(tuple(map(int, row[key].split("-"))) for key in lists)) for row in rows]
    codes = np.stack([space.encode(subnet) for subnet in subnets])
    # A network that is in the file twice must not be fitted on and then asked for.
    codes, first = np.unique(codes, axis=0, return_index=True)
    accuracy, macs = (np.array([float(row[key]) for row in rows])[first] for key in ("top1", "macs"))
    return Table(space, codes, accuracy, macs / 1e6)


def accel_nasbench(folder: Path) -> Table:
    """Accel-NASBench: seven MnasNet blocks of expand ratio, kernel, layers and squeeze-excite, ImageNet top-1."""
    rows = _rows(folder / "accel_nasbench.csv")
    names = [name for name in rows[0] if name.startswith("block")]
    options = [sorted({row[name] for row in rows}) for name in names]
    roles = [name.partition("_")[2] for name in names]
    # One block alone may have four layers.
    roles = [f"{role} of {len(values)}" for role, values in zip(roles, options, strict=True)]
    codes = [[values.index(row[name]) for name, values in zip(names, options, strict=True)] for row in rows]
    accuracy, macs = (np.array([float(row[key]) for row in rows]) for key in ("val_top1", "macs"))
    space = CategoricalSpace([len(values) for values in options], roles=roles)
    return Table(space, np.array(codes, np.int8), accuracy, macs)


def nas_bench_macro(folder: Path) -> Table:
    """NAS-Bench-Macro: eight layers of identity, MB3 3x3 or MB6 5x5, CIFAR-10 accuracy, mean of three trainings."""
    rows = json.loads((folder / "nas-bench-macro_cifar10.json").read_text())
    codes = np.array([[int(option) for option in name] for name in rows], np.int8)
    accuracy, flops = (np.array([row[key] for row in rows.values()]) for key in ("mean_acc", "flops"))
    return Table(CategoricalSpace([3] * 8, roles=["layer"] * 8), codes, accuracy, flops / 1e6)


def nas_bench_201(folder: Path) -> Table:
    """NAS-Bench-201: six edges of a cell with one of five operations each, CIFAR-10 accuracy after 200 epochs.

    In place of MACs the sum of kernel sizes, to which they are nearly proportional.
    """
    options = {"none": 0, "skip_connect": 0, "nor_conv_1x1": 1, "nor_conv_3x3": 9, "avg_pool_3x3": 0}
    rows = _rows(folder / "nasbench201_200epochs.csv")
    names = [
        [part.split("~")[0] for part in row["ArchitectureString"].replace("+", "").split("|") if part] for row in rows
    ]
    codes = np.array([[list(options).index(name) for name in edges] for edges in names], np.int8)
    accuracy = np.array([float(row["CIFAR10TestAccuracy200Epochs"]) for row in rows])
    macs = np.array([sum(options[name] for name in edges) for edges in names], float)
    return Table(CategoricalSpace([5] * 6, roles=["edge"] * 6), codes, accuracy, macs)


TABLES: dict[str, Callable[[Path], Table]] = {
    "ofa_mbv3": ofa_mobilenetv3,
    "accel": accel_nasbench,
    "macro": nas_bench_macro,
    "nasbench201": nas_bench_201,
}


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise SystemExit(f"{path} is missing: give the folder that holds the tables (docs of each are in its README)")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
