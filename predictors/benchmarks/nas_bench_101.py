"""NAS-Bench-101: 423,624 cells of up to seven vertices, trained on CIFAR-10 (https://arxiv.org/abs/1902.09635).

The published file is a TFRecord of JSON rows ``[hash, epochs, adjacency, operations, metrics]``: the upper triangle of
a matrix as zeros and ones, the operations by commas, and a protocol buffer in base64. A cell was trained three times;
its accuracy is their mean, after the most epochs that the file has.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.predictors.benchmarks.cell_graphs import EDGES, INNER, VERTICES, graph_keys
from ofa.predictors.benchmarks.protobuf import double, fields
from ofa.predictors.benchmarks.tfrecord import records
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.genome import DTYPE

if TYPE_CHECKING:
    from torch import nn

OPERATIONS = ("conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3")
_ENDS = ("input", "output")
# Of the message ModelMetrics, and of the EvaluationData in it: https://github.com/google-research/nasbench
_EVALUATION, _PARAMS = 1, 2
_SECONDS, _VALIDATION, _TEST = 2, 4, 5


class _Trained(NamedTuple):
    """One training: what it gave after its last epoch."""

    validation: float
    test: float
    seconds: float
    params: int


def read(path: Path) -> Benchmark:
    """``cifar10`` is the test accuracy, ``cifar10-val`` the validation accuracy, both in percent.

    A code has an edge gene for each pair of the seven vertices and the operation of each inner one. Isomorphic cells,
    and cells with vertices that lead nowhere, are one network; codes of cells that the file does not have are unknown.

    Raises ``ValueError`` naming the file when it is damaged, cut short or of another version.
    """
    # Of each cell, by its published hash: its code and what its trainings gave.
    codes: dict[str, np.ndarray] = {}
    trained: dict[str, list[_Trained]] = {}
    most = 0
    for number, record in enumerate(records(path)):
        try:
            cell, epochs, adjacency, operations, metrics = json.loads(record)
            if epochs > most:
                most, codes, trained = epochs, {}, {}
            if epochs == most:
                if cell not in codes:
                    codes[cell], trained[cell] = code_of(adjacency, operations), []
                trained[cell].append(_trained(base64.b64decode(metrics)))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, record {number}: it is no row of NAS-Bench-101 ({error!r})") from error
    if not codes:
        raise ValueError(f"{path} has no record; is it cut short?")
    stacked = np.stack(list(codes.values()))
    if not graph_keys(stacked, operations=len(OPERATIONS)).all():
        raise ValueError(f"{path} has a cell whose input and output no path joins; it is no file of NAS-Bench-101")
    means = np.array([np.mean(each, axis=0) for each in trained.values()])
    return Benchmark(
        name="NAS-Bench-101",
        space=CategoricalSpace([2] * EDGES + [len(OPERATIONS)] * INNER, roles=["edge"] * EDGES + ["operation"] * INNER),
        codes=stacked,
        accuracies={"cifar10": 100 * means[:, 1], "cifar10-val": 100 * means[:, 0]},
        known_costs={"params": means[:, 3], "training_time": means[:, 2]},
        units={"training_time": "s"},
        identify=lambda asked: graph_keys(asked, operations=len(OPERATIONS)),
        build=_model,
    )


def code_of(adjacency: str, operations: str) -> np.ndarray:
    """The code of a cell of two to seven vertices. Raises ``ValueError`` saying what is wrong with it."""
    names = operations.split(",")
    vertices = len(names)
    if not 2 <= vertices <= VERTICES or len(adjacency) != vertices**2 or set(adjacency) - {"0", "1"}:
        raise ValueError(f"a cell has the operations {operations!r} and the matrix {adjacency!r}, which do not fit")
    matrix = np.array([int(one) for one in adjacency]).reshape(vertices, vertices)
    if np.tril(matrix).any() or (names[0], names[-1]) != _ENDS or set(names[1:-1]) - set(OPERATIONS):
        raise ValueError(f"a cell has the operations {operations!r}; between its ends there are {OPERATIONS}")
    # A smaller cell has unused vertices before its output.
    places = [*range(vertices - 1), VERTICES - 1]
    whole = np.zeros((VERTICES, VERTICES), DTYPE)
    whole[np.ix_(places, places)] = matrix
    chosen = [OPERATIONS.index(name) for name in names[1:-1]] + [0] * (VERTICES - vertices)
    return np.r_[whole[np.triu_indices(VERTICES, 1)], chosen].astype(DTYPE)


def _model(choices: Sequence[int], num_classes: int) -> nn.Module:
    """Raises ``ValueError`` for a code whose input and output no path joins."""
    from ofa.supernet.cells.graph_model import GraphModel  # which imports torch

    edges = np.zeros((VERTICES, VERTICES), int)
    edges[np.triu_indices(VERTICES, 1)] = choices[:EDGES]
    return GraphModel(edges.tolist(), [OPERATIONS[choice] for choice in choices[EDGES:]], num_classes=num_classes)


def _trained(message: bytes) -> _Trained:
    params, last = 0, b""
    for number, value in fields(message):
        if number == _EVALUATION:
            last = value  # of evaluations at the start, half way and the end
        elif number == _PARAMS:
            params = value
    values = dict(fields(last))
    return _Trained(double(values[_VALIDATION]), double(values[_TEST]), double(values[_SECONDS]), params)
