"""Stages of which the first blocks run."""

from __future__ import annotations

from itertools import islice

from torch import Tensor, nn


class ElasticStage(nn.Sequential):
    """Blocks of which the first ``active_depth`` run."""

    active_depth: int

    def forward(self, x: Tensor) -> Tensor:
        for block in islice(self, self.active_depth):
            x = block(x)
        return x


def make_stage_elastic(stage: nn.Sequential) -> None:
    """Turns a sequence of blocks elastic in depth, in place."""
    if type(stage) is not nn.Sequential:
        raise TypeError(f"cannot make {type(stage).__name__} elastic: nn.Sequential is needed")
    stage.__class__ = ElasticStage
    stage.active_depth = len(stage)
