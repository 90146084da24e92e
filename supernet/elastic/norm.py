"""Batch norms over a part of their channels."""

from __future__ import annotations

from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F


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


def make_batch_norm_elastic(norm: nn.Module) -> None:
    """Turns timm's batch norm + activation elastic, in place."""
    if type(norm) is not BatchNormAct2d:
        raise TypeError(f"cannot make {type(norm).__name__} elastic: timm's BatchNormAct2d is needed")
    norm.__class__ = ElasticBatchNormAct2d
