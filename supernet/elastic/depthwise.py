"""Depthwise convolutions over a part of their channels and with one of several kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.elastic.depthwise_gradient import DepthwiseConv, has_slow_gradient


class ElasticDepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution with as many channels as its input and a kernel of ``active_kernel``.

    A smaller kernel is the centre of the next larger one, multiplied by a trained matrix (one a step, shared by all
    channels): the kernel transformation of "Once-for-All", section 3 (https://arxiv.org/abs/1908.09791).
    """

    active_kernel: int
    kernels: tuple[int, ...]  # descending
    transforms: nn.ParameterDict  # "7to5": (25, 25)

    def active_weight(self, channels: int, kernel: int) -> Tensor:
        """The weight ``(channels, 1, kernel, kernel)`` that a subnet uses."""
        weight = self.weight[:channels] if channels < self.weight.shape[0] else self.weight
        for larger, smaller in zip(self.kernels, self.kernels[1:], strict=False):
            if smaller < kernel:
                break
            matrix = self.transforms[f"{larger}to{smaller}"]
            margin = (larger - smaller) // 2
            centre = weight[:, :, margin : margin + smaller, margin : margin + smaller]
            weight = F.linear(centre.reshape(channels, -1), matrix).view(channels, 1, smaller, smaller)
        return weight

    def active_tensor(self, name: str, shape: torch.Size) -> Tensor:
        """The tensor ``name`` of the plain leaf of a subnet, whose shape it is: kernel transforms are baked in."""
        assert name == "weight"
        return self.active_weight(shape[0], shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        channels, kernel = x.shape[1], self.active_kernel
        weight = self.active_weight(channels, kernel)
        if self.dilation == (1, 1) and has_slow_gradient(x, weight):
            return DepthwiseConv.apply(x, weight, self.stride)
        return F.conv2d(x, weight, None, self.stride, kernel // 2, self.dilation, channels)


def make_depthwise_elastic(conv: nn.Conv2d, kernels: tuple[int, ...]) -> None:
    """Turns a depthwise convolution elastic over ``kernels`` (ascending; the largest is its own), in place."""
    if type(conv) is not nn.Conv2d or conv.groups != conv.in_channels or conv.bias is not None:
        raise TypeError(f"cannot make {conv} elastic: a depthwise nn.Conv2d without bias is needed")
    if kernels[-1] != conv.kernel_size[0]:
        raise ValueError(f"{conv}: the largest of the kernels {list(kernels)} is not its own")
    conv.__class__ = ElasticDepthwiseConv2d
    conv.active_kernel = kernels[-1]
    like = {"dtype": conv.weight.dtype, "device": conv.weight.device}
    conv.kernels = kernels[::-1]
    conv.transforms = nn.ParameterDict(
        {
            f"{larger}to{smaller}": nn.Parameter(torch.eye(smaller**2, **like))
            for larger, smaller in zip(conv.kernels, conv.kernels[1:], strict=False)
        }
    )
