"""Cells of NAS-Bench-201 as CSV: tables of accuracies, and of costs such as those of HW-NAS-Bench, by cell.

A column has each cell as its benchmark writes it (``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``); other columns
are told apart by their names (``csv_rows``). The published files themselves are pickles: see ``refused``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.predictors.benchmarks.csv_rows import accuracies_of, costs_of, read_rows
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.cells.subnet import CellSubnet

if TYPE_CHECKING:
    from torch import nn

_CELL = re.compile(rb"\|[a-z0-9_]+~0\|\+")
# What the files call ImageNet has 120 classes at 16 pixels.
_IMAGENET = {"imagenet": "ImageNet16-120", "imagenet-val": "ImageNet16-120-val"}


def knows(head: bytes) -> bool:
    """Whether a file has cells in its first rows."""
    return b"," in head and _CELL.search(head) is not None


def read(path: Path) -> Benchmark:
    """``cifar10``, ``cifar100`` and ``ImageNet16-120`` are test accuracies in percent; ``-val``: of validation images.

    Raises ``ValueError`` naming file and line of what is no cell.
    """
    rows = read_rows(path)
    column = next(name for name, value in rows[0].items() if value and _CELL.match(value.encode()))
    space, codes = CellSpace.preset("nasbench201"), []
    for number, row in enumerate(rows, start=2):
        try:
            codes.append(space.encode(CellSubnet.from_arch(row[column])))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    costs, units = costs_of(path, rows)
    accuracies = {_IMAGENET.get(name, name): values for name, values in accuracies_of(path, rows).items()}
    return Benchmark(
        name="NAS-Bench-201",
        space=space,
        codes=np.stack(codes),
        accuracies=accuracies,
        known_costs=costs,
        units=units,
        counted=counted_costs(space),
        build=lambda network, num_classes: cell_model(space, network, num_classes),
    )


def counted_costs(space: CellSpace) -> dict[str, CostTable]:
    """What is known of every cell."""
    return {"macs": CostTable.macs(space, num_classes=10), "params": CostTable.params(space, num_classes=10)}


def cell_model(space: CellSpace, network: Any, num_classes: int) -> nn.Module:
    """A cell network as a plain torch module, at the size of ``space``."""
    from ofa.supernet.cells.model import CellModel  # which imports torch

    return CellModel(space, network, num_classes=num_classes)
