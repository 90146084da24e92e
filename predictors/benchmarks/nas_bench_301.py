"""NAS-Bench-301's trained networks: DARTS cells on CIFAR-10 (https://arxiv.org/abs/2008.09777), a JSON file each.

Its folder has files ``results_*.json``, in folders of its own. An edge of a cell is a key such as
``NetworkSelectorDatasetInfo:darts:edge_normal_3``: edges are counted node after node, of each node by the state read.
The surrogates fitted to them are not read: see ``refused``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.predictors.benchmarks.cells_csv import cell_model, counted_costs
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.cells.subnet import CellSubnet
from ofa.supernet.files import read_json

PATTERN = "results_*.json"
_EDGE = re.compile(r".*:edge_(normal|reduce)_(\d+)")
_KINDS = {"normal": "normal", "reduce": "reduction"}  # as a cell space calls them


def read(folder: Path) -> Benchmark:
    """``cifar10`` is the test accuracy in percent, ``cifar10-val`` that on validation images.

    Raises ``ValueError`` naming a file that is no such result.
    """
    space = CellSpace.preset("darts")
    codes, rows = [], []
    for path in sorted(folder.rglob(PATTERN)):
        result = read_json(path)
        try:
            codes.append(space.encode(_network(space, result["optimized_hyperparamater_config"])))  # so spelt there
            last = result["info"][-1]
            rows.append(
                [result["test_accuracy"], last["val_accuracy"], last.get("model_parameters", np.nan), result["runtime"]]
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no result of NAS-Bench-301 ({error!r})") from error
    if not rows:
        raise ValueError(f"{folder} has no {PATTERN}; give the folder of NAS-Bench-301's results, or a table's file")
    test, validation, params, seconds = np.array(rows, float).T
    return Benchmark(
        name="NAS-Bench-301",
        space=space,
        codes=np.stack(codes),
        accuracies={"cifar10": test, "cifar10-val": validation},
        known_costs={"trained_params": params, "training_time": seconds},
        units={"training_time": "s"},
        counted=counted_costs(space),
        build=lambda network, num_classes: cell_model(space, network, num_classes),
    )


def _network(space: CellSpace, config: dict[str, Any]) -> CellSubnet:
    edges = [
        (node, state) for node in range(space.nodes) for state in range(space.facts.inputs + node)
    ]  # in the order of their numbers
    cells: dict[str, list[list[tuple[str, int]]]] = {
        kind: [[] for _ in range(space.nodes)] for kind in space.facts.kinds
    }
    for key, operation in config.items():
        if found := _EDGE.fullmatch(key):
            node, state = edges[int(found[2])]
            cells[_KINDS[found[1]]][node].append((operation, state))
    return CellSubnet(
        tuple(
            (kind, tuple(tuple(sorted(node, key=lambda pair: pair[1])) for node in cell))
            for kind, cell in cells.items()
        )
    )
