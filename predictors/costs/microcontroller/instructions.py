"""Instructions of one inference on a Cortex-M, as a table: counted operator by operator, then fitted.

CMSIS-NN's kernels run a fixed number of instructions for each shape, so a count needs no repeats. The count
is a sum over the kernels' loops, whose iterations ``features`` gives, so a few whole subnets determine it.
Instructions are neither cycles nor time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls
from tqdm import tqdm

from ofa.export.microcontroller.scratch import MVE_CHANNELS
from ofa.predictors.costs.counts import at_each_side, fold_table, macs_table
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import cost_quality
from ofa.predictors.sampling import fit_and_test
from ofa.supernet import families
from ofa.supernet.integers import ceil_div
from ofa.supernet.operators import Operator, Operators, Shape
from ofa.supernet.space import SearchSpace, Subnet

Kind = tuple[str, int]


class OperatorShape(NamedTuple):
    """The kind and shape of an operator.

    Attributes:
        pixels: of the output map.
        in_channels: 0 where they do not count (additions and pools).
        kernel_positions: the pairs of an output pixel and a position of the kernel that is inside the input
            map.
    """

    kind: str
    kernel: int
    pixels: int
    in_channels: int
    out_channels: int
    kernel_positions: int = 0


def conv(
    side: int, in_channels: int, out_channels: int, *, kernel: int = 1, stride: int = 1, depthwise: bool = False
) -> OperatorShape:
    """A convolution, padded by half its kernel, whose input is a map of ``side`` x ``side``."""
    out_side = ceil_div(side, stride)
    rows = sum(0 <= y * stride - kernel // 2 + offset < side for y in range(out_side) for offset in range(kernel))
    kind = "depthwise" if depthwise else "conv"
    return OperatorShape(kind, kernel, out_side * out_side, in_channels, out_channels, rows * rows)


def features(operator: OperatorShape) -> np.ndarray:
    """How often each loop of the operator's kernel runs, for Cortex-M4 and M55 alike ``(features,)``."""
    kind, kernel, pixels, inputs, outputs, positions = operator

    # The vectorised depthwise kernel works on blocks of channels, the scalar one on four channels and four
    # pixels.
    if kind == "depthwise":
        fours, area, left = ceil_div(outputs, 4), kernel * kernel, pixels % 4
        passes = ceil_div(outputs, MVE_CHANNELS)
        sixteens = outputs // MVE_CHANNELS * ceil_div(MVE_CHANNELS, 16) + ceil_div(outputs % MVE_CHANNELS, 16)
        return np.array(
            [
                *(1, pixels, pixels * outputs, pixels * area * outputs, positions, positions * outputs, pixels * area),
                *(positions * sixteens, positions * passes, pixels * area * sixteens, pixels * area * passes),
                *(pixels // 4 * fours, pixels // 4 * fours * area, left * fours, left * fours * area),
            ],
            float,
        )

    # A matrix product, in blocks of 16 input channels, and of four or two pixels.
    if kind == "conv" and kernel == 1:
        blocks, left = ceil_div(inputs, 16), pixels % 4
        return np.array(
            [
                *(1, pixels, outputs, inputs * outputs, pixels * outputs, pixels * outputs * (inputs // 16)),
                *(pixels * outputs * (inputs % 16 // 4), pixels * outputs * (inputs % 4)),
                *(pixels // 4 * outputs, pixels // 4 * outputs * blocks, left * outputs, left * outputs * blocks),
                *(pixels % 2 * outputs, pixels % 2 * outputs * inputs),
            ],
            float,
        )

    # The input is copied position by position before a matrix product.
    if kind == "conv":
        macs = pixels * outputs * inputs * kernel**2
        return np.array([1, pixels, positions, positions * inputs, pixels * outputs, macs], float)
    return np.array([1, pixels, outputs, pixels * outputs, inputs * outputs], float)


class Model(NamedTuple):
    """Instructions per iteration of each loop, by kind of operator and kernel."""

    weights: dict[Kind, np.ndarray]

    def predict(self, operator: OperatorShape) -> float:
        """The instructions of an operator. Raises ``ValueError`` for a kind that was in no measured subnet."""
        key = (operator.kind, operator.kernel)
        if key not in self.weights:
            raise ValueError(f"no {operator.kind} with kernel {operator.kernel} was counted; measure more subnets")
        return float(features(operator) @ self.weights[key])


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


def operator_shapes(part: Operators, side: int) -> list[OperatorShape]:
    """The shape of each operator of ``part``, whose input is a map of ``side`` x ``side``."""
    shapes = part.shapes(side)
    return [
        _operator_shape(operator, shapes[operator.inputs[0]], output_shape)
        for operator, output_shape in zip(part, shapes[1:], strict=True)
    ]


def _operator_shape(operator: Operator, input_shape: Shape, output_shape: Shape) -> OperatorShape:
    """Raises ``ValueError`` for a kind of operator that no program has."""
    in_channels, channels = input_shape.channels, output_shape.channels
    if operator.kind in ("conv", "depthwise"):
        options = {"kernel": operator.kernel, "stride": operator.stride, "depthwise": operator.kind == "depthwise"}
        return conv(input_shape.side, in_channels, channels, **options)
    if operator.kind == "add":
        return OperatorShape("add", 0, output_shape.positions, 0, channels)
    if operator.kind == "pool":
        return OperatorShape("pool", 0, input_shape.positions, 0, channels)
    if operator.kind == "linear":
        return OperatorShape("linear", 0, output_shape.positions, in_channels, channels)
    raise ValueError(f"no instruction count is known for {operator.kind}")


def operator_from_profile(operator: Any) -> OperatorShape:
    """The shape of an operator that ``runtimes.cortex_m.operators`` counted.

    Raises ``ValueError`` for an operator that no block of our spaces has.
    """
    input_shape, output_shape, kernel = operator.input, operator.output, operator.kernel
    if operator.kind in ("conv2d_s8", "depthwise_conv2d_s8"):
        depthwise = operator.kind.startswith("depthwise")
        height, width, channels = input_shape
        side = kernel[0] if depthwise else kernel[1]
        if operator.padding == side // 2 and height == width:
            return conv(height, channels, output_shape[2], kernel=side, stride=operator.stride, depthwise=depthwise)
    elif operator.kind == "add_s8":
        return OperatorShape("add", 0, output_shape[0] * output_shape[1], 0, output_shape[2])
    elif operator.kind == "average_pool2d_s8" and output_shape[:2] == (1, 1):
        return OperatorShape("pool", 0, input_shape[0] * input_shape[1], 0, output_shape[2])
    elif operator.kind == "linear_s8":
        return OperatorShape("linear", 0, 1, input_shape[-1], output_shape[-1])
    raise ValueError(f"no instruction count is known for {operator}")


def table(space: SearchSpace, model: Model, *, num_classes: int, in_chans: int = 3) -> Table:
    """The predictions of ``model`` for every part of a space."""
    fold = at_each_side(lambda part, side: sum(map(model.predict, operator_shapes(part, side))))
    head = {"num_classes": num_classes, "in_chans": in_chans}
    return fold_table(space, "instructions", "instructions", fold, **head)


def measure(
    space: SearchSpace,
    *,
    num_classes: int,
    in_chans: int = 3,
    cpu: str = "cortex_m4",
    fit_subnets: int = 10,
    test_subnets: int = 6,
    seed: int = 0,
    progress: bool = True,
) -> Table:
    """Instructions for one image on ``cpu`` (``cortex_m4`` or ``cortex_m55``), from int8 programs run under QEMU.

    Every operator of ``fit_subnets`` whole subnets is counted. ``info["quality"]`` has the error on
    ``test_subnets`` others: ``mape``, ``largest`` relative error and ``kendall_tau``.

    Raises ``ValueError`` when a compiler or QEMU is missing, and naming the layer for whose operator there
    is no C (in the space ``mcu`` there is C for all).
    """
    from ofa.export.runtimes import cortex_m

    environment = cortex_m.environment(threads=1, cpu=cpu)
    head = {"num_classes": num_classes, "in_chans": in_chans}
    rng = np.random.default_rng([seed, 2])
    fitted_codes, test = fit_and_test(space, macs_table(space, **head), fit=fit_subnets, test=test_subnets, rng=rng)
    codes = np.concatenate([fitted_codes, test])

    # Operators of the first subnets are counted one by one, the others as a whole.
    counted: list[tuple[OperatorShape, int]] = []
    totals = []
    for index, code in enumerate(tqdm(codes, desc=f"count on {cpu}", disable=None if progress else True)):
        session = cortex_m.load(int8_program(space, space.decode(code), **head), cpu=cpu)
        if index < len(fitted_codes):
            profile = cortex_m.operators(session)
            counted += [(operator_from_profile(operator), operator.instructions) for operator in profile]
        else:
            totals.append(cortex_m.figures(session).instructions)

    # The error is that of whole networks, as a search uses the table.
    fitted = table(space, fit(counted), **head)
    predicted, measured = fitted.predict(test), np.array(totals, float)
    info = {
        "made_with": environment["version"],
        "cpu": cpu,
        "operators": _per_value(counted),
        "quality": {
            **cost_quality(predicted, measured, fit_subnets=len(fitted_codes)),
            "largest": float((np.abs(predicted - measured) / measured).max()) if totals else None,
        },
    }
    return replace(fitted, info=info)


def int8_program(space: SearchSpace, subnet: Subnet, *, num_classes: int, in_chans: int) -> bytes:
    """The int8 TFLite model of a subnet; its weights and ranges do not matter."""
    from ofa.export.runtimes import cortex_m

    family = families.model(space.family)
    module = family.build(family.describe(space, subnet, num_classes=num_classes, in_chans=in_chans)).eval()
    return cortex_m.convert_int8(module, (in_chans, subnet.resolution, subnet.resolution))


def _per_value(counted: Sequence[tuple[OperatorShape, int]]) -> dict[str, float]:
    """Instructions per multiply-accumulate, or per input value of operators without any, by kind and kernel."""
    sums: dict[str, list[float]] = {}
    for operator, count in counted:
        kind, kernel = operator.kind, operator.kernel
        total = sums.setdefault(f"{kind} {kernel}x{kernel}" if kernel else kind, [0.0, 0.0])
        total[0] += count
        total[1] += macs_or_values(operator)
    return {name: round(count / size, 3) for name, (count, size) in sums.items()}


def macs_or_values(operator: OperatorShape) -> int:
    """Multiply-accumulates, or input values of operators that have none."""
    area = max(operator.kernel, 1) ** 2
    per_output = area if operator.kind == "depthwise" else area * max(operator.in_channels, 1)
    return operator.pixels * operator.out_channels * per_output
