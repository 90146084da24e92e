"""Full convolutions, such as a network's first, over a part of their channels and with one of several kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ofa.supernet.elastic.kernels import add_transforms, smaller_kernel


class ElasticKernelConv2d(nn.Conv2d):
    """``nn.Conv2d`` that computes its first ``active_out`` channels with a kernel of ``active_kernel``.

    A smaller kernel has a smaller padding, so the output's size stays. See ``elastic.kernels`` for its weights.
    """

    active_out: int
    active_kernel: int
    kernels: tuple[int, ...]  # descending
    transforms: nn.ParameterDict

    def active_tensor(self, name: str, shape: torch.Size) -> Tensor:
        """The tensor ``name`` of the plain leaf of a subnet, whose shape it is: kernel transforms are baked in."""
        return self.bias[: shape[0]] if name == "bias" else self.active_weight(shape[0], shape[1], shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        weight = self.active_weight(self.active_out, x.shape[1], self.active_kernel)
        bias = None if self.bias is None else self.bias[: self.active_out]
        half = self.active_kernel // 2
        return nn.functional.conv2d(x, weight, bias, self.stride, half)

    def active_weight(self, out: int, read: int, kernel: int) -> Tensor:
        """The weight ``(out, read, kernel, kernel)`` that a subnet uses."""
        weight = self.weight if (out, read) == self.weight.shape[:2] else self.weight[:out, :read]
        made = smaller_kernel(weight, kernel, kernels=self.kernels, transforms=self.transforms)
        # What was multiplied has lost the order in memory by which torch chooses how to compute, and what to give.
        return made.to(memory_format=torch.channels_last)


def why_conv_kernel_is_fixed(conv: nn.Module) -> str:
    """What is needed to give a full convolution a choice of kernels, or nothing where nothing is missing."""
    if type(conv) is not nn.Conv2d or conv.groups != 1 or conv.padding_mode != "zeros" or conv.dilation != (1, 1):
        return "a plain nn.Conv2d with one group and without dilation is needed for a choice of kernels"
    rows, columns = conv.kernel_size
    if rows != columns or rows % 2 == 0 or conv.padding != (rows // 2, rows // 2):
        return "a square kernel of odd size, padded by half of it, is needed for a choice of kernels"
    return ""


def make_kernel_conv_elastic(conv: nn.Conv2d, kernels: tuple[int, ...]) -> None:
    """Turns a full convolution elastic over ``kernels`` (ascending; the largest is its own) and width, in place."""
    if reason := why_conv_kernel_is_fixed(conv):
        raise TypeError(f"cannot make {conv} elastic: {reason}")
    if kernels[-1] != conv.kernel_size[0]:
        raise ValueError(f"{conv}: the largest of the kernels {list(kernels)} is not its own")
    conv.__class__ = ElasticKernelConv2d
    conv.active_out = conv.out_channels
    add_transforms(conv, kernels)
