"""Instructions of one inference on a Cortex-M, as a table: counted operator by operator, then fitted.

The kernels run a fixed number of instructions for each shape, so a count needs no repeats. The count
is a sum over the kernels' loops, whose iterations ``features`` gives, so a few whole subnets determine it.
Instructions are neither cycles nor time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from ofa.export.microcontroller.patches import Windows
from ofa.predictors.costs.counts import Fold, at_each_side, fold_table
from ofa.predictors.costs.microcontroller.loops import (
    Axis,
    OperatorShape,
    convolution,
    features,
    operator_shapes,
    paste_shape,
    window_shapes,
)
from ofa.predictors.costs.table import Table
from ofa.supernet import families
from ofa.supernet.operators import Operator, Operators, Side
from ofa.supernet.space import SearchSpace, Subnet

Kind = tuple[str, int]
_COPY = np.array([30.0, 25.0, 5.0])  # about what a copy takes, where no counted program has one


class Model(NamedTuple):
    """Instructions per iteration of each loop, by kind of operator and kernel."""

    weights: dict[Kind, np.ndarray]

    def predict(self, operator: OperatorShape) -> Side:
        """The instructions of an operator. Raises ``ValueError`` for a kind that was in no measured subnet."""
        key = (operator.kind, operator.kernel)
        if key not in self.weights and operator.kind == "copy":
            return np.tensordot(_COPY, features(operator), 1)
        if key not in self.weights:
            raise ValueError(f"no {operator.kind} with kernel {operator.kernel} was counted; measure more subnets")
        return np.tensordot(self.weights[key], features(operator), 1)


def fit(counted: Iterable[tuple[OperatorShape, int]]) -> Model:
    """Minimises the squared relative error; no loop gets a negative number of instructions."""
    groups: dict[Kind, list[tuple[np.ndarray, int]]] = {}
    for operator, count in counted:
        groups.setdefault((operator.kind, operator.kernel), []).append((features(operator), count))
    weights = {}
    for key, rows in groups.items():
        x, y = np.array([row for row, _ in rows]), np.array([count for _, count in rows], float)
        # Columns of like size, for the solver.
        scale = np.abs(x / y[:, None]).max(axis=0)
        scale[scale == 0] = 1
        weights[key] = nnls(x / y[:, None] / scale, np.ones(len(y)))[0] / scale
    return Model(weights)


def operator_from_profile(operator: Any) -> OperatorShape:
    """The shape of an operator that ``runtimes.cortex_m.operators`` counted.

    Raises ``ValueError`` for an operator that no block of our spaces has.
    """
    read, written, kernel = operator.input, operator.output, operator.kernel
    if operator.kind in ("conv2d_s8", "depthwise_conv2d_s8", "by_channel"):
        depthwise = operator.kind != "conv2d_s8"
        side, groups = (kernel[0], read[2]) if depthwise else (kernel[1], 1)
        kind: Any = "depthwise" if depthwise else "conv"
        known = Operator(kind, (0,), written[2], side, operator.stride, groups, side // 2)
        y, x = (Axis(*sizes) for sizes in zip(read[:2], written[:2], operator.padding, strict=True))
        return convolution(known, y, x, read[2], in_place=operator.kind == "by_channel")
    if operator.kind == "copy":
        return OperatorShape("copy", 0, written[0], 0, 1, written[0] * written[1])
    if operator.kind == "add_s8":
        rows = 1 if read[1] == written[1] else written[0]
        return OperatorShape("add", 0, written[0] * written[1], 0, written[2], 0, rows)
    if operator.kind == "average_pool2d_s8" and written[:2] == (1, 1):
        return OperatorShape("pool", 0, read[0] * read[1], 0, written[2])
    if operator.kind == "linear_s8":
        return OperatorShape("linear", 0, 1, read[-1], written[-1])
    raise ValueError(f"no instruction count is known for {operator}")


def table(space: SearchSpace, model: Model, *, num_classes: int, in_chans: int = 3, in_place: bool = True) -> Table:
    """The predictions of ``model`` for every part of a space."""
    fold = instruction_fold(model, in_place=in_place)
    head = {"num_classes": num_classes, "in_chans": in_chans}
    return fold_table(space, "instructions", "instructions", fold, **head)


def instruction_fold(model: Model, *, in_place: bool) -> Fold:
    """The instructions of a part on whole maps."""
    return at_each_side(
        lambda part, side: float(sum(map(model.predict, operator_shapes(part, side, in_place=in_place))))
    )


def patch_instructions(model: Model, *, in_place: bool) -> Callable[..., Side]:
    """The instructions of a part on all patches: a ``patched.Count``."""

    def count(part: Operators, sides: Sequence[Side], windows: Sequence[Windows], cut: np.ndarray, first: bool) -> Side:
        shapes = window_shapes(part, sides, windows, in_place=in_place, first=first)
        total = sum(np.broadcast_to(model.predict(shape), shape.pixels.shape).sum((-2, -1)) for shape in shapes)
        paste = model.predict(paste_shape(part, windows))
        return total + np.where(cut, paste.sum((-2, -1)), 0)

    return count


def int8_program(space: SearchSpace, subnet: Subnet, *, num_classes: int, in_chans: int) -> bytes:
    """The int8 TFLite model of a subnet; its weights and ranges do not matter."""
    from ofa.export.runtimes import cortex_m

    family = families.model(space.family)
    module = family.build(family.describe(space, subnet, num_classes=num_classes, in_chans=in_chans)).eval()
    return cortex_m.convert_int8(module, (in_chans, subnet.resolution, subnet.resolution))
