"""The operations of cells as torch modules, and the convolutions around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Setting(NamedTuple):
    """Where an operation stands.

    Attributes:
        channels: that it reads and gives.
        stride: 2 where it halves the map.
        affine: whether its batch norms have scale and shift.
        norm_pools: whether a batch norm, without scale and shift, follows a pool.
    """

    channels: int
    stride: int
    affine: bool
    norm_pools: bool


class FactorizedReduce(nn.Module):
    """Halves the map without losing positions: half of the channels see the even ones, half the odd ones.

    A map of an odd side gets a row and column of zeros, so that both halves have the side rounded up.
    """

    def __init__(
        self, in_channels: int, channels: int, *, affine: bool, conv: Callable[..., nn.Module] = nn.Conv2d
    ) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.even = conv(in_channels, channels - channels // 2, 1, stride=2, bias=False)
        self.odd = conv(in_channels, channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        return self.norm(torch.cat([self.even(x), self.odd(F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:])], dim=1))


def conv_norm(
    in_channels: int, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, affine: bool = True
) -> nn.Sequential:
    """ReLU, convolution, batch norm; padded so that the side is only divided by the stride."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels, affine=affine))


def _skip(to: Setting) -> nn.Module:
    return nn.Identity() if to.stride == 1 else FactorizedReduce(to.channels, to.channels, affine=to.affine)


def _conv(to: Setting, *, kernel: int, dilation: int = 1) -> nn.Module:
    return conv_norm(to.channels, to.channels, kernel, stride=to.stride, dilation=dilation, affine=to.affine)


def _separable(to: Setting, *, kernel: int, dilation: int = 1, repeats: int) -> nn.Module:
    """ReLU, depthwise and pointwise convolution, batch norm; ``repeats`` times, the first with the stride."""
    layers: list[nn.Module] = []
    for repeat in range(repeats):
        stride, padding = to.stride if repeat == 0 else 1, dilation * (kernel // 2)
        depthwise = {"groups": to.channels, "bias": False}
        layers += [
            nn.ReLU(),
            nn.Conv2d(to.channels, to.channels, kernel, stride, padding, dilation, **depthwise),
            nn.Conv2d(to.channels, to.channels, 1, bias=False),
            nn.BatchNorm2d(to.channels, affine=to.affine),
        ]
    return nn.Sequential(*layers)


def _two_lines(to: Setting, *, length: int) -> nn.Module:
    """A convolution of one row, with the stride, then one of one column."""
    half, channels = length // 2, to.channels
    row = nn.Conv2d(channels, channels, (1, length), to.stride, (0, half), bias=False)
    column = nn.Conv2d(channels, channels, (length, 1), 1, (half, 0), bias=False)
    return nn.Sequential(nn.ReLU(), row, column, nn.BatchNorm2d(channels, affine=to.affine))


def _max_pool(to: Setting, *, kernel: int) -> nn.Module:
    return _pool(nn.MaxPool2d(kernel, to.stride, kernel // 2), to)


def _avg_pool(to: Setting, *, kernel: int) -> nn.Module:
    return _pool(nn.AvgPool2d(kernel, to.stride, kernel // 2, count_include_pad=False), to)


def _pool(pool: nn.Module, to: Setting) -> nn.Module:
    return nn.Sequential(pool, nn.BatchNorm2d(to.channels, affine=False)) if to.norm_pools else pool


OPERATIONS: dict[str, Callable[[Setting], nn.Module]] = {
    "skip_connect": _skip,
    "nor_conv_1x1": partial(_conv, kernel=1),
    "nor_conv_3x3": partial(_conv, kernel=3),
    "dilated_conv_3x3": partial(_conv, kernel=3, dilation=2),
    "conv_1x3_3x1": partial(_two_lines, length=3),
    "conv_1x7_7x1": partial(_two_lines, length=7),
    "sep_conv_3x3": partial(_separable, kernel=3, repeats=2),
    "sep_conv_5x5": partial(_separable, kernel=5, repeats=2),
    "sep_conv_7x7": partial(_separable, kernel=7, repeats=2),
    "dil_conv_3x3": partial(_separable, kernel=3, dilation=2, repeats=1),
    "dil_conv_5x5": partial(_separable, kernel=5, dilation=2, repeats=1),
    "avg_pool_3x3": partial(_avg_pool, kernel=3),
    "max_pool_3x3": partial(_max_pool, kernel=3),
    "max_pool_5x5": partial(_max_pool, kernel=5),
    "max_pool_7x7": partial(_max_pool, kernel=7),
}
