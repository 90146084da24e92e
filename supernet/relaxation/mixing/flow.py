"""Stages, optional layers and replaceable blocks whose output is the weighted sum of what they may give."""

from __future__ import annotations

from functools import cache

from torch import Tensor, nn

from ofa.supernet.elastic.stage import ElasticStage, OptionalConvNormAct


class MixedStage(ElasticStage):
    """Blocks that all run: the output is the sum of what comes after each number of them, times its weight."""

    depth_weights: dict[int, Tensor]  # by number of blocks

    def forward(self, x: Tensor) -> Tensor:
        total = x * self.depth_weights[0].to(x.dtype) if 0 in self.depth_weights else None
        for depth, block in enumerate(self, 1):
            x = block(x)
            if depth in self.depth_weights:
                weighted = x * self.depth_weights[depth].to(x.dtype)
                total = weighted if total is None else total + weighted
        return total


class MixedOptionalLayer(OptionalConvNormAct):
    """A layer's output and its input, weighted."""

    weight_of_layer: Tensor
    weight_of_input: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.weight_of_layer.to(x.dtype) + x * self.weight_of_input.to(x.dtype)


class _MixedReplaceable(nn.Module):
    """A block's output and those of its alternatives, weighted; each runs."""

    output_weights: dict[str, Tensor]  # by name of the alternative; of the block itself by an empty one

    def forward(self, x: Tensor) -> Tensor:
        total = super().forward(x) * self.output_weights[""].to(x.dtype)
        for name, block in self.alternatives.items():
            total = total + block(x) * self.output_weights[name].to(x.dtype)
        return total


@cache
def mixed_replaceable(kind: type[nn.Module]) -> type[nn.Module]:
    """The class that stands for a class of ``elastic.replaceable``."""
    return type(f"Mixed{kind.__name__}", (_MixedReplaceable, kind), {"__module__": __name__})
