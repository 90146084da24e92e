"""Stages of which the first blocks run, and layers that can be left out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from timm.layers import ConvNormAct
from torch import Tensor, nn


class ElasticStage(nn.Sequential):
    """Blocks of which the first ``active_depth`` run.

    Whoever iterates over it, slices it or asks for its length sees the active blocks. An index reaches every block, as
    names, parameters and the state dict do.
    """

    active_depth: int

    def __iter__(self) -> Iterator[nn.Module]:
        return islice(self._modules.values(), self.active_depth)

    def __len__(self) -> int:
        return self.active_depth

    def __getitem__(self, index: int | slice) -> nn.Module:
        if isinstance(index, slice):
            return nn.Sequential(*list(self)[index])
        return list(self._modules.values())[index]


def make_stage_elastic(stage: nn.Sequential) -> None:
    """Turns a sequence of blocks elastic in depth, in place."""
    if type(stage) is not nn.Sequential:
        raise TypeError(f"cannot make {type(stage).__name__} elastic: nn.Sequential is needed")
    depth = len(stage)
    stage.__class__ = ElasticStage
    stage.active_depth = depth


class OptionalConvNormAct(ConvNormAct):
    """timm's convolution + norm + activation, left out where ``active`` is false: it then returns its input."""

    active: bool

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.active else x


def why_layer_is_needed(layer: nn.Module) -> str:
    """Why a layer cannot be left out, or nothing where it can."""
    if type(layer) is not ConvNormAct:
        return "timm's ConvNormAct is needed"
    if (
        layer.conv.in_channels != layer.conv.out_channels
        or layer.conv.stride not in (1, (1, 1))
        or getattr(layer, "aa", None)
    ):
        return "its output must have the shape of its input"
    return ""


def make_optional(layer: nn.Module) -> None:
    """Lets a layer that keeps its input's shape be left out, in place; what it consists of is left as it is."""
    if reason := why_layer_is_needed(layer):
        raise TypeError(f"cannot leave out {type(layer).__name__}: {reason}")
    layer.__class__ = OptionalConvNormAct
    layer.active = True
