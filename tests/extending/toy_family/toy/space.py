"""Stages of residual pointwise blocks; a block chooses its middle width, by name of the role ``width``."""

from functools import cached_property
from typing import ClassVar, Literal

from ofa.supernet.genome import Gene
from ofa.supernet.space import BlockPosition, BlockShape, SearchSpace


class Space(SearchSpace):
    timm_class: ClassVar[str] = "toy.Toy"
    shrinking: ClassVar[tuple[str, ...]] = ("depth", "width")

    family: Literal["toy"]
    depths: tuple[int, ...] = (1, 2, 3)
    stages: tuple[int, ...] = (8, 16)  # channels
    widths: tuple[int, ...] = (8, 16, 24)

    @cached_property
    def blocks(self):
        positions, channels = [], self.stages[0]
        for stage, width in enumerate(self.stages):
            for index in range(self.depths[-1]):
                positions.append(BlockPosition(stage, index, channels))
                channels = width
        return tuple(positions)

    @cached_property
    def genes(self):
        return (
            Gene("resolution", self.resolutions),
            *(Gene("depth", self.depths, stage) for stage in range(len(self.stages))),
            *(Gene("width", self.widths, block.stage, block.index) for block in self.blocks),
        )

    @property
    def operators(self):
        return frozenset({"relu"})

    def sizes(self, resolution):
        return (-(-resolution // 2),) * (len(self.blocks) + 1)

    def shapes(self, subnet):
        side = self.sizes(subnet.resolution)[0]
        return tuple(
            BlockShape(block, block.in_channels, width, self.stages[block.stage], side, side)
            for block, width in zip(self.blocks, subnet.widths, strict=True)
            if block.index < subnet.depths[block.stage]
        )
