"""How often each loop of a kernel runs: what the instructions of an operator depend on.

Figures are integers, or integer arrays of many operators of one kind at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ofa.export.microcontroller.memory import by_channel
from ofa.export.microcontroller.patches import Windows, padding_before, padding_of_windows
from ofa.export.microcontroller.scratch import MVE_CHANNELS
from ofa.supernet.integers import ceil_div
from ofa.supernet.operators import Operator, Operators, Shape, Side


class Axis(NamedTuple):
    """One axis of a convolution: sizes of input and output, and the positions that are padded before the input."""

    inputs: Side
    outputs: Side
    before: Side


class OperatorShape(NamedTuple):
    """The kind and shape of an operator.

    Attributes:
        kind: that of ``Operator``, ``"by_channel"`` for a depthwise convolution of
            ``c/model_depthwise.c``, or ``"copy"`` of ``pixels`` rows with ``kernel_positions`` bytes together.
        pixels: of the output map.
        in_channels: 0 where they do not count (additions and pools).
        kernel_positions: the pairs of an output pixel and a position of the kernel that is inside the input
            map.
        calls: of the kernel that compute the operator, each some rows.
        stride, y, x: of ``"by_channel"``.
    """

    kind: str
    kernel: int
    pixels: Side
    in_channels: int
    out_channels: int
    kernel_positions: Side = 0
    calls: Side = 1
    stride: int = 1
    y: Axis | None = None
    x: Axis | None = None


def taps(axis: Axis, kernel: int, stride: int) -> Side:
    """The pairs of an output position and one of the kernel that is inside the input, along one axis."""
    inside = np.zeros_like(axis.outputs)
    for position in range(kernel):
        # The first and the last output whose window has this position inside the input.
        first = np.maximum(ceil_div(axis.before - position, stride), 0)
        last = np.minimum((axis.inputs - 1 + axis.before - position) // stride, axis.outputs - 1)
        inside = inside + np.maximum(last - first + 1, 0)
    return inside if np.ndim(inside) else int(inside)


def convolution(
    operator: Operator, y: Axis, x: Axis, in_channels: int, *, in_place: bool, calls: Side = 1
) -> OperatorShape:
    """A convolution from window to window of its maps; the program has one call of its kernel, or ``calls``."""
    kernel, stride = operator.kernel, operator.stride
    pixels, channels = y.outputs * x.outputs, operator.channels
    if in_place and by_channel(operator):
        return OperatorShape("by_channel", kernel, pixels, channels, channels, 0, 1, stride, y, x)
    positions = taps(y, kernel, stride) * taps(x, kernel, stride)
    return OperatorShape(operator.kind, kernel, pixels, in_channels, channels, positions, calls)


def conv(
    side: int,
    in_channels: int,
    out_channels: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    depthwise: bool = False,
    in_place: bool = False,
) -> OperatorShape:
    """A convolution, padded by half its kernel, whose input is a map of ``side`` x ``side``."""
    kind, groups = ("depthwise", in_channels) if depthwise else ("conv", 1)
    operator = Operator(kind, (0,), out_channels, kernel, stride, groups, kernel // 2)
    axis = Axis(side, ceil_div(side, stride), kernel // 2)
    return convolution(operator, axis, axis, in_channels, in_place=in_place)


def features(operator: OperatorShape) -> np.ndarray:
    """How often each loop of the operator's kernel runs, for Cortex-M4 and M55 alike ``(features, ...)``."""
    return np.stack(np.broadcast_arrays(*_features(operator))).astype(float)


def _features(operator: OperatorShape) -> list[Any]:
    kind, kernel, pixels, inputs, outputs, positions, calls, _, y, x = operator

    # The ring is filled row by row; then a row of outputs is computed, two, four or eight at once.
    if kind == "by_channel":
        stride = operator.stride
        loaded = np.minimum(y.inputs, (y.outputs - 1) * stride - y.before + kernel)
        values = np.minimum(x.inputs, (ceil_div(x.outputs, 4) * 4 - 1) * stride + kernel - x.before)
        rows, twos, eights = taps(y, kernel, stride), ceil_div(x.outputs, 2), (x.outputs + 3) // 8
        fours = x.outputs - 8 * eights > 0
        loops = [1, y.outputs, pixels, y.outputs * twos, y.outputs * eights, y.outputs * fours]
        loops += [loaded, loaded * values, loaded * ceil_div(values, 8), rows]
        loops += [size * (stride == one) for one in (1, 2) for size in (rows * twos, rows * eights, rows * fours)]
        return [1, *(outputs * count for count in loops)]

    # The vectorised depthwise kernel works on blocks of channels, the scalar one on four channels and four
    # pixels.
    if kind == "depthwise":
        fours, area, left = ceil_div(outputs, 4), kernel * kernel, pixels % 4
        passes = ceil_div(outputs, MVE_CHANNELS)
        sixteens = outputs // MVE_CHANNELS * ceil_div(MVE_CHANNELS, 16) + ceil_div(outputs % MVE_CHANNELS, 16)
        return [
            *(1, pixels, pixels * outputs, pixels * area * outputs, positions, positions * outputs, pixels * area),
            *(positions * sixteens, positions * passes, pixels * area * sixteens, pixels * area * passes),
            *(pixels // 4 * fours, pixels // 4 * fours * area, left * fours, left * fours * area),
        ]

    # A matrix product, in blocks of 16 input channels, and of four or two pixels.
    if kind == "conv" and kernel == 1:
        blocks, left = ceil_div(inputs, 16), pixels % 4
        return [
            *(1, pixels, outputs, inputs * outputs, pixels * outputs, pixels * outputs * (inputs // 16)),
            *(pixels * outputs * (inputs % 16 // 4), pixels * outputs * (inputs % 4)),
            *(pixels // 4 * outputs, pixels // 4 * outputs * blocks, left * outputs, left * outputs * blocks),
            *(pixels % 2 * outputs, pixels % 2 * outputs * inputs),
        ]

    if kind == "copy":
        return [calls, pixels, positions]

    # The input is copied position by position before a matrix product of two or four pixels.
    if kind == "conv":
        macs, each = pixels * outputs * inputs * kernel**2, pixels // calls
        left = [calls * (each % 2) * outputs, calls * (each % 4 > 0) * outputs]
        return [calls, pixels, positions, positions * inputs, pixels * outputs, macs, *left]
    return [calls, pixels, outputs, pixels * outputs, inputs * outputs]


def operator_shapes(part: Operators, side: int, *, in_place: bool) -> list[OperatorShape]:
    """The shape of each operator of ``part``, whose input is a map of ``side`` x ``side``."""
    shapes = part.shapes(side)
    return [
        _operator_shape(operator, shapes[operator.inputs[0]], output_shape, in_place=in_place)
        for operator, output_shape in zip(part, shapes[1:], strict=True)
    ]


def _operator_shape(operator: Operator, read: Shape, written: Shape, *, in_place: bool) -> OperatorShape:
    """Raises ``ValueError`` for a kind of operator that no program has."""
    if operator.kind in ("conv", "depthwise"):
        axis = Axis(read.side, written.side, operator.padding)
        return convolution(operator, axis, axis, read.channels, in_place=in_place)
    if operator.kind == "add":
        return OperatorShape("add", 0, written.positions, 0, written.channels)
    if operator.kind == "pool":
        return OperatorShape("pool", 0, read.positions, 0, written.channels)
    if operator.kind == "linear":
        return OperatorShape("linear", 0, written.positions, read.channels, written.channels)
    raise ValueError(f"no instruction count is known for {operator.kind}")


def window_shapes(
    part: Operators, sides: Sequence[Side], windows: Sequence[Windows], *, in_place: bool, first: bool
) -> Iterator[OperatorShape]:
    """The shape of each operator of ``part`` in every patch: figures ``(..., grid, grid)``.

    The ``first`` convolution reads the image, whose rows are copied: for each row of outputs it is called once.
    """
    channels = [part.in_channels, *(operator.channels for operator in part)]
    for number, operator in enumerate(part, 1):
        read, written = operator.inputs[0], windows[number]
        size_y, size_x = written.size[..., :, None], written.size[..., None, :]
        if operator.kind == "add":
            same = all(np.array_equal(windows[tensor].size, written.size) for tensor in operator.inputs)
            rows = 1 if same else size_y
            yield OperatorShape("add", 0, size_y * size_x, 0, operator.channels, 0, rows)
            continue
        padding = padding_of_windows(operator, written, padding_before(operator, sides[read], sides[number]))
        y = Axis(windows[read].size[..., :, None], size_y, padding[..., :, None])
        x = Axis(windows[read].size[..., None, :], size_x, padding[..., None, :])
        from_image = first and number == 1
        calls = size_y if from_image else 1
        yield convolution(operator, y, x, channels[read], in_place=in_place, calls=calls)
        if from_image:
            rows = taps(y, operator.kernel, operator.stride) + 0 * size_x
            yield OperatorShape("copy", 0, rows, 0, 1, rows * x.inputs * channels[0], calls)


def paste_shape(part: Operators, windows: Sequence[Windows]) -> OperatorShape:
    """The copies of a part's outputs to the map at the cut, in every patch."""
    size = windows[-1].size
    rows = size[..., :, None] + 0 * size[..., None, :]
    return OperatorShape("copy", 0, rows, 0, 1, rows * size[..., None, :] * part.operators[-1].channels)


def macs_or_values(operator: OperatorShape) -> int:
    """Multiply-accumulates, or input values of operators that have none."""
    area = max(operator.kernel, 1) ** 2
    by_itself = operator.kind in ("depthwise", "by_channel")
    per_output = area if by_itself else area * max(operator.in_channels, 1)
    return operator.pixels * operator.out_channels * per_output
