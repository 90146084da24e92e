"""Depthwise convolution whose weight's gradient is not slow on CPUs for kernels of 5 and 7."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def has_slow_gradient(x: Tensor, weight: Tensor) -> bool:
    """Whether a gradient of this depthwise convolution will be asked of oneDNN where it is slow."""
    return (
        weight.shape[-1] > 3
        and torch.is_grad_enabled()
        and weight.requires_grad
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


class DepthwiseConv(torch.autograd.Function):
    """Depthwise convolution, padded by half its square kernel or not at all, with a faster gradient on CPUs."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, 1, x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        x_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = _convolution_backward(grad, x, weight, ctx.stride, (ctx.padding,) * 2, of="x")
        if ctx.needs_input_grad[1]:
            weight_grad = depthwise_weight_grad(
                x, grad, kernel=weight.shape[-1], stride=ctx.stride, padding=ctx.padding
            )
        if ctx.needs_input_grad[2]:
            bias_grad = grad.sum((0, 2, 3))
        return x_grad, weight_grad, bias_grad, None, None


def depthwise_weight_grad(x: Tensor, grad: Tensor, *, kernel: int, stride: tuple[int, int], padding: int) -> Tensor:
    """Gradient ``(channels, 1, kernel, kernel)`` of the weight of a depthwise convolution with a square kernel.

    oneDNN has a fast routine for kernels up to 3 wide without padding to the sides, and one several times slower for
    all others. So the kernel is cut into strips of 3 columns, each the kernel of such a convolution over ``x`` moved
    by the strip's place. All strips read one padded copy of ``x``, from another start: what so comes in from the next
    row meets zeros, by which ``grad`` is widened.

    Args:
        x: the input ``(n, channels, height, width)``.
        grad: gradient of the output.
        padding: zeros on every side of ``x``.
    """
    n, channels, height, width = x.shape
    out_height, out_width = grad.shape[2:]
    # The routine does not pad low maps well either.
    pad_rows = 0 if out_height >= kernel else padding
    rows, pitch = height + 2 * pad_rows, width + 2 * padding
    size = n * rows * pitch * channels
    starts = range(0, kernel, 3)
    padded = x.new_zeros(size + starts[-1] * channels)
    inside = padded[:size].view(n, rows, pitch, channels)[:, pad_rows : pad_rows + height, padding : padding + width]
    inside.copy_(x.permute(0, 2, 3, 1))
    widened = grad.new_zeros(n, out_height, (pitch - 3) // stride[1] + 1, channels)
    widened[:, :, :out_width] = grad.permute(0, 2, 3, 1)
    widened = widened.permute(0, 3, 1, 2)
    strip, strip_padding = x.new_empty(channels, 1, kernel, 3), (padding - pad_rows, 0)
    grads = []
    for start in starts:
        moved = padded[start * channels : start * channels + size].view(n, rows, pitch, channels).permute(0, 3, 1, 2)
        grads.append(_convolution_backward(widened, moved, strip, stride, strip_padding, of="weight"))
    return torch.cat(grads, dim=3)[..., :kernel]


def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], *, of: str
) -> Tensor:
    output_mask = [of == "x", of == "weight", False]
    grads = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), False, (0, 0), x.shape[1], output_mask
    )
    return grads[output_mask.index(True)]
