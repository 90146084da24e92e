"""Linear layers over a part of their features."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Linear
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.elastic.narrowed import first_features


class ElasticLinear(nn.Linear):
    """Linear layer that computes its first ``active_out`` features from the first ``x.shape[-1]`` input features."""

    active_out: int

    def forward(self, x: Tensor) -> Tensor:
        if (self.active_out, x.shape[-1]) == (self.out_features, self.in_features):
            return super().forward(x)
        return F.linear(x, *self.active_parameters(x.shape[-1]))

    def active_parameters(self, width: int) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the part that runs on inputs of ``width`` features."""
        weight, bias, out = self.weight, self.bias, self.active_out
        if out < self.out_features:
            weight, bias = weight[:out], None if bias is None else bias[:out]
        return first_features(weight, width), bias


class ElasticQkv(ElasticLinear):
    """The layer that computes queries, keys and values: ``active_out / 3`` features each, of the first heads."""

    def active_parameters(self, width: int) -> tuple[Tensor, Tensor | None]:
        weight, bias, out = self.weight, self.bias, self.active_out
        if out < self.out_features:
            weight, bias = _thirds(weight, out), None if bias is None else _thirds(bias, out)
        return first_features(weight, width), bias

    def active_tensor(self, name: str, shape: torch.Size) -> Tensor:
        """The tensor ``name`` of the plain leaf of a subnet, whose shape it is."""
        tensor = _thirds(getattr(self, name), shape[0])
        return tensor if name == "bias" else tensor[:, : shape[1]]


def _thirds(tensor: Tensor, out: int) -> Tensor:
    """The first ``out / 3`` rows of each third."""
    return tensor.unflatten(0, (3, -1))[:, : out // 3].flatten(0, 1)


def make_linear_elastic(linear: nn.Linear) -> None:
    """Turns a linear layer elastic at its full width, in place."""
    if type(linear) not in (nn.Linear, Linear):
        raise TypeError(f"cannot make {linear} elastic: a plain nn.Linear is needed, or timm's")
    linear.__class__ = ElasticLinear
    linear.active_out = linear.out_features


def plain_linear(linear: nn.Linear, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    """Attributes of a plain linear layer from ``inp`` to ``out`` features."""
    return {"out_features": out, "in_features": inp}
