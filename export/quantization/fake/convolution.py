"""Convolutions of int8 numbers in float32, with the exact sums that int32 has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ofa.export.quantization.fake.rounding import HIGHEST
from ofa.export.quantization.small_weights import LEAST

_LEAST_WEIGHT = 1e-9  # the quantizer's, so that no scale is 0


def weight_scales(weight: Tensor, *, per_channel: bool) -> Tensor:
    """Scales of symmetric int8 weights, which cover the largest: for each output channel (the first axis), or one."""
    magnitude = weight.detach().abs()
    largest = magnitude.flatten(1).amax(1) if per_channel else magnitude.max()[None]
    return largest.clamp(min=_LEAST_WEIGHT) / HIGHEST


def with_room_for_biases(weight: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
    """The weights as the exporter changes them, so that biases fit (see ``quantization.small_weights``)."""
    flat = weight.flatten(1)
    least = bias.detach().abs() * (torch.tensor(LEAST, dtype=torch.float32) / scale)
    short = flat.detach().abs().amax(1) < least
    if not short.any():
        return weight
    first = torch.where(short, least, flat[:, 0])
    return torch.cat([first[:, None], flat[:, 1:]], dim=1).reshape(weight.shape)


def integer_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    weight_scales: Tensor,
    *,
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
) -> Tensor:
    """The convolution of ``x``, whose numbers are multiples of ``scale``, with weight and bias rounded to integers.

    No scale is trained. Rounded weights and biases have the gradient of exact ones (straight-through). Sums are
    of integers, which are exact up to 2^24.
    """
    return _IntegerConv.apply(x, weight, bias, scale, weight_scales, tuple(strides), tuple(dilations))


class _IntegerConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        weight_scales: Tensor,
        strides: tuple[int, ...],
        dilations: tuple[int, ...],
    ) -> Tensor:
        steps, unit = weight_scales.reshape(-1, 1, 1, 1), scale * weight_scales
        integers = torch.round(weight / steps)
        groups = x.shape[1] // weight.shape[1]
        sums = F.conv2d((x / scale).round_(), integers, torch.round(bias / unit), strides, 0, dilations, groups)
        ctx.save_for_backward(x, integers * steps)
        ctx.options = (list(strides), [0, 0], list(dilations), False, [0, 0], groups)
        return sums.mul_(unit.reshape(-1, 1, 1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, rounded = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        gradients = torch.ops.aten.convolution_backward(gradient, x, rounded, [len(rounded)], *ctx.options, wanted)
        return (*gradients, None, None, None, None)
