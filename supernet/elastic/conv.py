"""Convolutions over a part of their channels."""

from __future__ import annotations

from torch import Tensor, nn


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


def make_conv_elastic(conv: nn.Conv2d) -> None:
    """Turns a plain convolution into an ``ElasticConv2d`` at its full width, in place."""
    if type(conv) is not nn.Conv2d or conv.groups != 1:
        raise TypeError(f"cannot make {conv} elastic: a plain nn.Conv2d with one group is needed")
    conv.__class__ = ElasticConv2d
    conv.active_out = conv.out_channels
