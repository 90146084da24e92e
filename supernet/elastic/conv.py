"""Elastic leaves: timm's own layers, able to run with a part of their weights.

A leaf is made elastic by replacing its class (``leaf.__class__ = ElasticConv2d``), so parameters, state-dict keys and
timm's forward code stay what they were. The active part is always a prefix: the first channels of every axis. The input
width is read off the input; the output width and the kernel are set by whoever activates a subnet.
"""

from __future__ import annotations

from itertools import islice

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.depthwise import DepthwiseConv, has_slow_gradient


class ElasticConv2d(nn.Conv2d):
    """Convolution that computes its first ``active_out`` channels from the first ``x.shape[1]`` input channels."""

    active_out: int

    def forward(self, x: Tensor) -> Tensor:
        out, width = self.active_out, x.shape[1]
        if (out, width) == (self.out_channels, self.in_channels):
            return super().forward(x)
        # Every slice costs a copy of the whole weight in the backward pass, also a slice that leaves nothing out.
        weight, bias = self.weight, self.bias
        if out < self.out_channels:
            weight, bias = weight[:out], None if bias is None else bias[:out]
        if width < self.in_channels:
            weight = weight[:, :width]
        return self._conv_forward(x, weight, bias)


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

    def forward(self, x: Tensor) -> Tensor:
        channels, kernel = x.shape[1], self.active_kernel
        weight = self.active_weight(channels, kernel)
        if self.dilation == (1, 1) and has_slow_gradient(x, weight):
            return DepthwiseConv.apply(x, weight, self.stride)
        return F.conv2d(x, weight, None, self.stride, kernel // 2, self.dilation, channels)


class ElasticBatchNormAct2d(BatchNormAct2d):
    """timm's batch norm + activation over the first ``x.shape[1]`` channels.

    The running statistics are shared by every subnet, hence right for none: calibrate a subnet before it is evaluated.
    """

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        if c == self.num_features:
            return super().forward(x)
        mean, var = self.running_mean[:c], self.running_var[:c]
        x = F.batch_norm(x, mean, var, self.weight[:c], self.bias[:c], self.training, self.momentum, self.eps)
        return self.act(self.drop(x))


class ElasticStage(nn.Sequential):
    """Blocks of which the first ``active_depth`` run."""

    active_depth: int

    def forward(self, x: Tensor) -> Tensor:
        for block in islice(self, self.active_depth):
            x = block(x)
        return x


def make_conv_elastic(conv: nn.Conv2d) -> None:
    """Turns a plain convolution into an ``ElasticConv2d`` at its full width, in place."""
    if type(conv) is not nn.Conv2d or conv.groups != 1:
        raise TypeError(f"cannot make {conv} elastic: a plain nn.Conv2d with one group is needed")
    conv.__class__ = ElasticConv2d
    conv.active_out = conv.out_channels


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


def make_batch_norm_elastic(norm: nn.Module) -> None:
    """Turns timm's batch norm + activation elastic, in place."""
    if type(norm) is not BatchNormAct2d:
        raise TypeError(f"cannot make {type(norm).__name__} elastic: timm's BatchNormAct2d is needed")
    norm.__class__ = ElasticBatchNormAct2d


def make_stage_elastic(stage: nn.Sequential) -> None:
    """Turns a sequence of blocks elastic in depth, in place."""
    if type(stage) is not nn.Sequential:
        raise TypeError(f"cannot make {type(stage).__name__} elastic: nn.Sequential is needed")
    stage.__class__ = ElasticStage
    stage.active_depth = len(stage)
