"""TFLite's int8 operators in float32 with gradients, one function each.

A tensor is the real numbers that the int8 one stands for; maps are ``(batch, channels, height, width)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ofa.export.quantization.fake import tables
from ofa.export.quantization.fake.convolution import integer_conv, weight_scales, with_room_for_biases
from ofa.export.quantization.fake.rounding import LOWEST, Range, Rescale, activation, integers, straight_through
from ofa.export.tflite.flatbuffer import schema
from ofa.supernet.integers import ceil_div

_ACTS = schema.ActivationFunctionType
_CLAMPS = {_ACTS.NONE: None, _ACTS.RELU: (0.0, float("inf")), _ACTS.RELU6: (0.0, 6.0)}


@dataclass
class Operands:
    """What an operator reads.

    Attributes:
        values, ranges: of its operands; that of a stored one without a scale is None.
        weight, bias: of a layer, as its parameters are now, in torch's order of axes.
        output: the range of its output.
        shape: of its output in the file.
        options: the operator's in the file.
        rescale: how the kernels round.
    """

    values: Sequence[Tensor]
    ranges: Sequence[Range | None]
    weight: Tensor | None
    bias: Tensor | None
    output: Range
    shape: tuple[int, ...]
    options: Any
    rescale: Rescale

    @property
    def clamp(self) -> tuple[float, float] | None:
        """Of the activation function that the operator includes. Raises ``KeyError`` for others."""
        return _CLAMPS[getattr(self.options, "fusedActivationFunction", _ACTS.NONE)]

    def rescaled(self, sums: Tensor, unit: Tensor) -> Tensor:
        """The output; ``unit`` is the real number that one unit of the operator's integer sums stands for."""
        return activation(sums, self.output, self.clamp, unit=unit, rescale=self.rescale)


Operator = Callable[[Operands], Tensor]


def _conv(operands: Operands) -> Tensor:
    x, options, scale = operands.values[0], operands.options, operands.ranges[0].scale
    weight = with_room_for_biases(operands.weight, operands.bias, scale)
    strides, dilations = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    x = _padded(x, weight.shape[2:], strides, dilations, options.padding)
    scales = weight_scales(weight, per_channel=True)
    sums = integer_conv(x, weight, operands.bias, scale, scales, strides=strides, dilations=dilations)
    return operands.rescaled(sums, (scale.double() * scales.double()).reshape(-1, 1, 1))


def _padded(
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: int,
    *,
    value: float = 0.0,
) -> Tensor:
    if padding == schema.Padding.VALID:
        return x
    pads: list[int] = []
    for size, window, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((ceil_div(size, stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        pads = [total // 2, total - total // 2, *pads]  # torch's begin with the last axis
    return F.pad(x, pads, value=value) if any(pads) else x


def _linear(operands: Operands) -> Tensor:
    x, scale, scales = operands.values[0], operands.ranges[0].scale, weight_scales(operands.weight, per_channel=False)
    sums = integer_conv(x[..., None, None], operands.weight[..., None, None], operands.bias, scale, scales)
    return operands.rescaled(sums.flatten(1), scale * scales)


def _sum(operands: Operands, sign: int) -> Tensor:
    """In float64: kernels add with 20 more bits than a product has, and round the sum once."""
    left, right = (_in_float64(*pair) for pair in zip(operands.values, operands.ranges, strict=True))
    total = torch.add(left, right, alpha=sign)
    return activation(total, operands.output, operands.clamp).to(operands.values[0].dtype)


def _in_float64(values: Tensor, range_: Range) -> Tensor:
    integers = torch.round(values.detach() / range_.scale).double()
    return straight_through(values.double(), integers * range_.scale.double())


def _product(operands: Operands) -> Tensor:
    left, right = operands.ranges
    return operands.rescaled(torch.mul(*operands.values), left.scale * right.scale)


def _clamp(operands: Operands, bounds: tuple[float, float]) -> Tensor:
    return activation(operands.values[0], operands.output, bounds)


def _by_table(
    operands: Operands, exact: Callable[[Tensor], Tensor], table: Callable[[float, int, float, int], np.ndarray]
) -> Tensor:
    (x, *_), (of_x, *_), output = operands.values, operands.ranges, operands.output
    numbers = [number.item() for number in (of_x.scale, of_x.zero_point, output.scale, output.zero_point)]
    results = torch.from_numpy(table(numbers[0], int(numbers[1]), numbers[2], int(numbers[3]))).to(x.device)
    real = (results.float() - output.zero_point) * output.scale
    index = (integers(x, of_x) - LOWEST).long()
    return straight_through(activation(exact(x), output), real[index])


def _average_pool(operands: Operands) -> Tensor:
    """Of the stored integers, rounded to one of them."""
    (x, *_), (of_x, *_), options = operands.values, operands.ranges, operands.options
    kernel, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    if options.padding == schema.Padding.SAME and _padded(x, kernel, strides, (1, 1), options.padding) is not x:
        raise NotImplementedError("an average pool with padding")
    count = kernel[0] * kernel[1]
    sums = F.avg_pool2d(integers(x, of_x).double(), kernel, strides, divisor_override=1)
    rounded = torch.trunc((sums + torch.where(sums > 0, count // 2, -(count // 2))) / count).to(x.dtype)
    return straight_through(F.avg_pool2d(x, kernel, strides), (rounded - of_x.zero_point) * of_x.scale)


def _max_pool(operands: Operands) -> Tensor:
    options = operands.options
    kernel, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    x = _padded(operands.values[0], kernel, strides, (1, 1), options.padding, value=float("-inf"))
    return F.max_pool2d(x, kernel, strides)


def _pad(operands: Operands) -> Tensor:
    """With zeros, which the zero point stands for."""
    x, pads = operands.values
    _, rows, columns, channels = pads.long().tolist()
    return F.pad(x, [*columns, *rows, *channels])


def _reshape(operands: Operands) -> Tensor:
    x = operands.values[0]
    x = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
    x = x.reshape(len(x), *operands.shape[1:])
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


# Of these, output and input have one range.
KEEP_RANGE: dict[str, Operator] = {
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "PAD": _pad,
    "RESHAPE": _reshape,
}
ELEMENTWISE = ("ADD", "MUL", "SUB")
# And of these, the output has always the same.
FIXED_RANGE = {"LOGISTIC": (1 / 256, -128)}
OPERATORS: dict[str, Operator] = {
    **KEEP_RANGE,
    "ADD": partial(_sum, sign=1),
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "FULLY_CONNECTED": _linear,
    "HARD_SWISH": partial(_by_table, exact=F.hardswish, table=tables.hard_swish),
    "LOGISTIC": partial(_by_table, exact=torch.sigmoid, table=tables.logistic),
    "MUL": _product,
    "RELU": partial(_clamp, bounds=_CLAMPS[_ACTS.RELU]),
    "RELU6": partial(_clamp, bounds=_CLAMPS[_ACTS.RELU6]),
    "SUB": partial(_sum, sign=-1),
}
