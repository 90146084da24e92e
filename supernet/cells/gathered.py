"""Layers that read some of their input's channels: of a cell's output, those of the nodes that are in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Gathered:
    """With all channels as input the layer is its plain one. With fewer, they are those that ``columns`` name."""

    columns: Tensor | None = None

    def chosen_weight(self, channels: int) -> Tensor:
        """The weight of an input of ``channels``."""
        weight: Tensor = self.weight  # type: ignore[attr-defined]
        return weight if channels == weight.shape[1] else gathered(weight, self.columns)


class GatheredConv2d(_Gathered, nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.chosen_weight(x.shape[1]), self.bias)


class GatheredLinear(_Gathered, nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.chosen_weight(x.shape[1]), self.bias)


def gathered(weight: Tensor, columns: Tensor) -> Tensor:
    """The weight of the input channels ``columns``, in the memory format of the whole one."""
    like = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
    return weight[:, columns.to(weight.device)].clone(memory_format=like)  # the strides, too, choose the algorithm
