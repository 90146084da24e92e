"""Depthwise convolutions over a part of their channels and with one of several kernels."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Conv2dSame
from timm.layers.conv2d_same import conv2d_same
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.elastic.depthwise_gradient import DepthwiseConv, has_slow_gradient
from ofa.supernet.elastic.kernels import add_transforms, smaller_kernel


class _ElasticDepthwise(nn.Conv2d):
    """Depthwise convolution with as many channels as its input and a kernel of ``active_kernel``.

    A layer without a choice of kernels has no matrices.
    """

    active_kernel: int
    kernels: tuple[int, ...]  # descending
    transforms: nn.ParameterDict  # "7to5": (25, 25)

    def active_weight(self, channels: int, kernel: int) -> Tensor:
        """The weight ``(channels, 1, kernel, kernel)`` that a subnet uses."""
        weight = self.weight[:channels] if channels < self.weight.shape[0] else self.weight
        return smaller_kernel(weight, kernel, kernels=self.kernels, transforms=self.transforms)

    def active_tensor(self, name: str, shape: torch.Size) -> Tensor:
        """The tensor ``name`` of the plain leaf of a subnet, whose shape it is: kernel transforms are baked in."""
        return self.bias[: shape[0]] if name == "bias" else self.active_weight(shape[0], shape[-1])

    def _active_parameters(self, channels: int) -> tuple[Tensor, Tensor | None]:
        bias = self.bias if self.bias is None or channels == len(self.bias) else self.bias[:channels]
        return self.active_weight(channels, self.active_kernel), bias


class ElasticDepthwiseConv2d(_ElasticDepthwise):
    """``nn.Conv2d`` with one group a channel; a smaller kernel has a smaller padding, so the output's size stays."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._active_parameters(x.shape[1])
        padding = _padding(self, self.active_kernel)
        if self._gradient_can_be_ours(x, weight, padding):
            return DepthwiseConv.apply(x, weight, bias, self.stride, padding[0])
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, x.shape[1])

    def _gradient_can_be_ours(self, x: Tensor, weight: Tensor, padding: Any) -> bool:
        half = (weight.shape[-1] // 2,) * 2
        square = weight.shape[-2] == weight.shape[-1]
        return square and self.dilation == (1, 1) and padding == half and has_slow_gradient(x, weight)


class ElasticDepthwiseConv2dSame(_ElasticDepthwise, Conv2dSame):
    """timm's ``Conv2dSame`` with one group a channel: TensorFlow's "SAME" padding of the active kernel."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._active_parameters(x.shape[1])
        if self.dilation == (1, 1) and weight.shape[-2] == weight.shape[-1] and has_slow_gradient(x, weight):
            x = pad_same(x, weight.shape[-2:], self.stride, self.dilation)
            return DepthwiseConv.apply(x, weight, bias, self.stride, 0)
        return conv2d_same(x, weight, bias, self.stride, self.padding, self.dilation, x.shape[1])


_ELASTIC = {nn.Conv2d: ElasticDepthwiseConv2d, Conv2dSame: ElasticDepthwiseConv2dSame}


def is_depthwise(conv: nn.Module) -> bool:
    """Whether a module is a convolution of one group a channel, with one output each."""
    return isinstance(conv, nn.Conv2d) and 1 < conv.groups == conv.in_channels == conv.out_channels


def why_depthwise_is_fixed(conv: nn.Module) -> str:
    """What is needed to make a depthwise convolution elastic, or nothing where nothing is missing."""
    if type(conv) not in _ELASTIC or not is_depthwise(conv) or conv.padding_mode != "zeros":
        return "a depthwise nn.Conv2d is needed, or timm's Conv2dSame"
    return ""


def why_kernel_is_fixed(conv: nn.Module) -> str:
    """What is needed to give a convolution a choice of kernels, or nothing where nothing is missing."""
    if reason := why_depthwise_is_fixed(conv):
        return reason
    rows, columns = conv.kernel_size
    if rows != columns or rows % 2 == 0:
        return "a square kernel of odd size is needed for a choice of kernels"
    if type(conv) is nn.Conv2d and conv.padding != _half(conv, rows):
        return "a padding of half the kernel is needed for a choice of kernels"
    return ""


def make_depthwise_elastic(conv: nn.Conv2d, kernels: tuple[int, ...] | None = None) -> None:
    """Turns a depthwise convolution elastic over ``kernels`` (ascending; the largest is its own), in place.

    With one of them, or None, its width alone is elastic.
    """
    kernels = kernels or (conv.kernel_size[0],)
    if reason := why_depthwise_is_fixed(conv) or (why_kernel_is_fixed(conv) if len(kernels) > 1 else ""):
        raise TypeError(f"cannot make {conv} elastic: {reason}")
    if kernels[-1] != conv.kernel_size[0]:
        raise ValueError(f"{conv}: the largest of the kernels {list(kernels)} is not its own")
    conv.__class__ = _ELASTIC[type(conv)]
    add_transforms(conv, kernels)


def plain_depthwise(conv: nn.Conv2d, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    """Attributes of a plain depthwise convolution of ``out`` channels; ``kernel`` None is its own."""
    attributes: dict[str, Any] = {"out_channels": out, "in_channels": out, "groups": out}
    if kernel not in (None, conv.kernel_size[0]):
        attributes["kernel_size"] = (kernel, kernel)
        attributes["padding"] = _padding(conv, kernel)
    return attributes


def _padding(conv: nn.Conv2d, kernel: int) -> Any:
    """The padding with a square ``kernel``: its own with its own kernel or where the padding is timm's."""
    if kernel == conv.kernel_size[0] or isinstance(conv, Conv2dSame):
        return conv.padding
    return _half(conv, kernel)


def _half(conv: nn.Conv2d, kernel: int) -> tuple[int, int]:
    return tuple(dilation * (kernel - 1) // 2 for dilation in conv.dilation)
