"""Fake quantization: float numbers rounded to the ones that int8 can represent, with gradients that pass.

Jacob et al., https://arxiv.org/abs/1712.05877, section 3: a rounded number has the gradient of the exact one
(straight-through). The bounds of an activation's range are trained, too, by the rounding error inside the
range and by what is clipped at its ends (Esser et al., https://arxiv.org/abs/1902.08153; with a zero point:
https://arxiv.org/abs/2004.09576).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

LOWEST, HIGHEST = -128, 127


class Range(NamedTuple):
    """What an int8 tensor covers: the real numbers ``low`` to ``high``, in steps of ``scale``, 0 at ``zero_point``.

    Scalars, all of them tensors.
    """

    low: Tensor
    high: Tensor
    scale: Tensor
    zero_point: Tensor


def make_ranges(low: Tensor, high: Tensor) -> list[Range]:
    """The ranges of bounds ``(n,)`` below and above zero; scales and zero points as the quantizer computes them."""
    scale = (high.detach() - low.detach()) / 255
    zero_point = torch.round(LOWEST - low.detach() / scale)
    return [Range(*values) for values in zip(low, high, scale, zero_point, strict=True)]


def fixed_range(scale: float, zero_point: int) -> Range:
    """A range that is not trained."""
    step = torch.tensor(scale, dtype=torch.float32)
    zero = torch.tensor(float(zero_point))
    return Range((LOWEST - zero) * step, (HIGHEST - zero) * step, step, zero)


def integers(values: Tensor, range_: Range) -> Tensor:
    """What an int8 tensor of the range holds for ``values``, as float32; without gradients."""
    steps = torch.round(values.detach() / range_.scale) + range_.zero_point
    return steps.clamp(LOWEST, HIGHEST)


# (values, what one unit of the operator's integer sums stands for, scale of its output) to integers of the output.
Rescale = Callable[[Tensor, Tensor, Tensor], Tensor]


def activation(
    values: Tensor,
    range_: Range,
    clamp: tuple[float, float] | None = None,
    *,
    unit: Tensor | None = None,
    rescale: Rescale | None = None,
) -> Tensor:
    """``values``, first clamped by an activation function, rounded to what an int8 tensor of the range holds.

    To the nearest; or by ``rescale``, where they are integer sums of ``unit``.
    """
    return _Activation.apply(values, *range_, clamp, unit, rescale)


def rounded_once(values: Tensor, unit: Tensor, scale: Tensor) -> Tensor:
    """As XNNPACK does it: a sum is multiplied by a float32, and rounded to the nearest."""
    return (values / unit.float()).round_().mul_(unit.float() / scale).round_()


def rounded_twice(values: Tensor, unit: Tensor, scale: Tensor) -> Tensor:
    """As TensorFlow Lite Micro and LiteRT's reference kernels do it, in fixed point.

    A sum is multiplied by 31 bits between a half and one and rounded, then divided by a power of two and
    rounded again, halves away from zero.
    """
    factor, exponent = torch.frexp(unit.double() / scale.double())
    factor = torch.round(factor * 2.0**31) / 2.0**31
    left, right = torch.exp2(exponent.clamp(min=0)), torch.exp2(exponent.clamp(max=0).float())
    sums = (values / unit.float()).round_()
    once = (sums * (factor * left)).add_(0.5).floor_().to(values.dtype).mul_(right)  # 31 bits need float64
    return once.add_(torch.copysign(torch.full_like(right, 0.5), once)).trunc_()


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        low: Tensor,
        high: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        clamp: tuple[float, float] | None,
        unit: Tensor | None,
        rescale: Rescale | None,
    ) -> Tensor:
        ctx.save_for_backward(values, scale)
        ctx.limits, ctx.by_range = _limits(scale, zero_point, clamp)
        scale = scale.to(values.dtype)
        steps = (values / scale).round_() if rescale is None else rescale(values, unit, scale)
        return steps.clamp_(*ctx.limits).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, scale = ctx.saved_tensors
        lowest, highest = ctx.limits
        exact = values / scale
        steps = torch.round(exact)
        below, above = steps < lowest, steps > highest
        outside = below | above

        # Inside, a bound moves the scale, and with it the rounding error; outside, the result is the bound.
        of_low = of_high = None
        if ctx.needs_input_grad[1]:
            error = ((steps - exact).masked_fill_(outside, 0) * gradient).sum() / 255
            of_low = (gradient * below).sum() - error if ctx.by_range[0] else -error
            of_high = (gradient * above).sum() + error if ctx.by_range[1] else error
        return gradient.masked_fill(outside, 0), of_low, of_high, None, None, None, None, None


def _limits(
    scale: Tensor, zero_point: Tensor, clamp: tuple[float, float] | None
) -> tuple[tuple[float, float], tuple[bool, bool]]:
    """The lowest and highest number of steps, and whether it is the range that sets them."""
    zero, step = zero_point.item(), scale.item()
    lowest, highest = LOWEST - zero, HIGHEST - zero
    if clamp is None:
        return (lowest, highest), (True, True)
    low, high = (round(bound / step) if abs(bound) != float("inf") else bound for bound in clamp)
    return (max(lowest, low), min(highest, high)), (lowest > low, highest < high)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, _exact: Tensor, rounded: Tensor) -> Tensor:
        return rounded.clone()

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(exact: Tensor, rounded: Tensor) -> Tensor:
    """``rounded``, with the gradient of ``exact``."""
    return _StraightThrough.apply(exact, rounded)
