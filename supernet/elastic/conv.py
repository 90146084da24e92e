"""Convolutions over a part of their channels."""

from __future__ import annotations

from typing import Any

from timm.layers import Conv2dSame
from timm.layers.conv2d_same import conv2d_same
from torch import Tensor, nn


class ElasticConv2d(nn.Conv2d):
    """Convolution that computes its first ``active_out`` channels from the first ``x.shape[1]`` input channels."""

    active_out: int

    def forward(self, x: Tensor) -> Tensor:
        if (self.active_out, x.shape[1]) == (self.out_channels, self.in_channels):
            return super().forward(x)
        return self._conv_forward(x, *active_parameters(self, x.shape[1]))


class ElasticConv2dSame(Conv2dSame):
    """As ``ElasticConv2d``, with TensorFlow's "SAME" padding."""

    active_out: int

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = active_parameters(self, x.shape[1])
        return conv2d_same(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


def active_parameters(conv: ElasticConv2d | ElasticConv2dSame, width: int) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the part that runs on inputs of ``width`` channels."""
    # Every slice costs a copy of the whole weight in the backward pass, also a slice that leaves nothing out.
    weight, bias, out = conv.weight, conv.bias, conv.active_out
    if out < conv.out_channels:
        weight, bias = weight[:out], None if bias is None else bias[:out]
    if width < conv.in_channels:
        weight = weight[:, :width]
    return weight, bias


_ELASTIC = {nn.Conv2d: ElasticConv2d, Conv2dSame: ElasticConv2dSame}


def why_conv_is_fixed(conv: nn.Module) -> str:
    """What is needed to make a convolution elastic that is not depthwise, or nothing where nothing is missing."""
    if type(conv) not in _ELASTIC or conv.groups != 1 or conv.padding_mode != "zeros":
        return "a plain nn.Conv2d with one group is needed, or timm's Conv2dSame"
    return ""


def make_conv_elastic(conv: nn.Conv2d) -> None:
    """Turns a plain convolution into an ``ElasticConv2d`` (or ``Same``) at its full width, in place."""
    if reason := why_conv_is_fixed(conv):
        raise TypeError(f"cannot make {conv} elastic: {reason}")
    conv.__class__ = _ELASTIC[type(conv)]
    conv.active_out = conv.out_channels


def plain_conv(conv: nn.Conv2d, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    """Attributes of a plain convolution from ``inp`` to ``out`` channels; ``kernel`` None is its own."""
    attributes: dict[str, Any] = {"out_channels": out, "in_channels": inp}
    if kernel not in (None, conv.kernel_size[0]):
        attributes |= {"kernel_size": (kernel, kernel), "padding": (kernel // 2, kernel // 2)}
    return attributes
