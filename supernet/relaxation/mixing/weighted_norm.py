"""A norm over channels of which each counts as much as a mask says, with its gradient written out.

As plain operations it would take three times as long, and keep several maps for the backward pass instead of its input.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class NormKind(NamedTuple):
    """What a norm takes off and divides by.

    Attributes:
        centre_variance: whether it divides by the standard deviation, or by the root of the mean square.
        centre_output: whether it takes off the mean.
        correction: by how many channels the variance's divisor is smaller than their number.
    """

    centre_variance: bool = True
    centre_output: bool = True
    correction: float = 0.0


def weighted_norm(
    x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, *, eps: float, kind: NormKind
) -> Tensor:
    """``x`` ``(..., channels)`` normalised over its last axis, of which ``mask`` ``(channels,)`` says how much counts.

    Means are ``sum(mask * x) / sum(mask)``, so with a mask of ones and zeros it is the norm of the channels that have
    ones. In the type of ``weight`` ``(channels,)``, whatever autocast says, as torch's own norms; without ``bias``
    where that is None.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _WeightedNorm.apply(x.to(weight.dtype), mask.to(weight.dtype), weight, bias, eps, kind)


class _WeightedNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, eps: float, kind: NormKind
    ) -> Tensor:
        ctx.kind, ctx.eps, ctx.has_bias = kind, eps, bias is not None
        total = mask.sum()
        mean = (x @ (mask / total))[..., None] if kind.centre_variance else x.new_zeros(())
        centred = x - mean
        variance = (centred.square() @ (mask / (total - kind.correction)))[..., None]
        scale = torch.rsqrt(variance + eps)
        ctx.save_for_backward(x, mask, weight, mean, scale)
        normalised = centred.mul_(scale) if kind.centre_output or not kind.centre_variance else x * scale
        return normalised * weight if bias is None else torch.addcmul(bias, normalised, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mask, weight, mean, scale = ctx.saved_tensors
        kind, channels, total = ctx.kind, x.shape[-1], mask.sum()
        share = mask / (total - kind.correction)
        deviation = (x - mean).mul_(scale)  # what the variance is of, divided by its root
        normalised = deviation if kind.centre_output or not kind.centre_variance else x * scale
        product = grad * normalised
        weight_grad = product.reshape(-1, channels).sum(0)
        bias_grad = grad.reshape(-1, channels).sum(0) if ctx.has_bias else None

        # Of the normalised values, through the variance, and through the mean that is taken off.
        by_variance = (product @ weight)[..., None]
        x_grad = grad * weight
        x_grad -= share * by_variance * deviation
        # The variance has its own value subtracted, since its divisor grows with the mask, too.
        of_variance = by_variance.reshape(1, -1) @ deviation.square().reshape(-1, channels)
        of_variance -= (by_variance * (1 - ctx.eps * scale.square())).sum()
        mask_grad = -0.5 * of_variance[0] / (total - kind.correction)
        if kind.centre_output and kind.centre_variance:
            by_mean = (grad @ weight)[..., None]
            x_grad -= mask / total * by_mean
            mask_grad -= (by_mean.reshape(1, -1) @ deviation.reshape(-1, channels))[0] / total
        return x_grad.mul_(scale), mask_grad, weight_grad, bias_grad, None, None
