"""Batch norms over a part of their channels."""

from __future__ import annotations

from typing import Any

from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F


class ElasticBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the first ``x.shape[1]`` channels.

    The running statistics are shared by every subnet, hence right for none: calibrate a subnet before it is evaluated.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.shape[1] == self.num_features else _normalise(self, x)


class ElasticBatchNormAct2d(BatchNormAct2d):
    """timm's batch norm + activation over the first ``x.shape[1]`` channels, as ``ElasticBatchNorm2d``."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == self.num_features:
            return super().forward(x)
        return self.act(self.drop(_normalise(self, x)))


def _normalise(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    c = x.shape[1]
    mean, var = norm.running_mean[:c], norm.running_var[:c]
    return F.batch_norm(x, mean, var, norm.weight[:c], norm.bias[:c], norm.training, norm.momentum, norm.eps)


_ELASTIC = {nn.BatchNorm2d: ElasticBatchNorm2d, BatchNormAct2d: ElasticBatchNormAct2d}


def why_batch_norm_is_fixed(norm: nn.Module) -> str:
    """What is needed to make a batch norm elastic, or nothing where nothing is missing."""
    if type(norm) not in _ELASTIC or norm.weight is None or norm.running_mean is None:
        return "nn.BatchNorm2d or timm's BatchNormAct2d is needed, with weights and running statistics"
    return ""


def make_batch_norm_elastic(norm: nn.Module) -> None:
    """Turns a batch norm elastic, in place."""
    if reason := why_batch_norm_is_fixed(norm):
        raise TypeError(f"cannot make {type(norm).__name__} elastic: {reason}")
    norm.__class__ = _ELASTIC[type(norm)]


def plain_batch_norm(norm: nn.Module, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    """Attributes of a plain batch norm of ``out`` channels."""
    return {"num_features": out}
