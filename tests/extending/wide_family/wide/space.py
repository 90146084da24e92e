"""Stages of residual blocks; stem, stages and head choose a width, blocks the ratio of their middle to it."""

from functools import cached_property
from typing import ClassVar, Literal

from ofa.supernet.genome import Gene
from ofa.supernet.space import BlockPosition, BlockShape, PartColumns, SearchSpace


class Space(SearchSpace):
    timm_class: ClassVar[str] = "wide.Wide"
    shrinking: ClassVar[tuple[str, ...]] = ("depth", "expand", "width")

    family: Literal["wide"]
    depths: tuple[int, ...] = (1, 2)
    stem: tuple[int, ...] = (8, 12)
    stages: tuple[tuple[int, ...], ...] = ((8, 12, 16), (16, 24, 32))
    head: tuple[int, ...] = (16, 24, 40)
    expands: tuple[float, ...] = (0.5, 1)

    @cached_property
    def blocks(self):
        positions, channels = [], self.stem[-1]
        for stage, widths in enumerate(self.stages):
            for index in range(self.depths[-1]):
                positions.append(BlockPosition(stage, index, channels))
                channels = widths[-1]
        return tuple(positions)

    @cached_property
    def genes(self):
        return (
            Gene("resolution", self.resolutions),
            *(Gene("depth", self.depths, stage) for stage in range(len(self.stages))),
            Gene("width", self.stem, name="stem"),
            *(Gene("width", widths, stage) for stage, widths in enumerate(self.stages)),
            Gene("width", self.head, name="head"),
            *(Gene("expand", self.expands, block.stage, block.index) for block in self.blocks),
        )

    @cached_property
    def part_columns(self):
        stem, *stages, head = self.genes_of("width").tolist()
        blocks = []
        for block, expand in zip(self.blocks, self.genes_of("expand").tolist(), strict=True):
            before = [stem, *stages][block.stage]
            own = {"width": stages[block.stage], "expand": expand}
            blocks.append({"width_before": before, **own} if block.index == 0 else own)
        # The head's own gene comes first: the order of its axes is not that of the code.
        return PartColumns({"width": stem}, tuple(blocks), {"features": head, "width": stages[-1]})

    @property
    def operators(self):
        return frozenset({"relu"})

    def sizes(self, resolution):
        sizes = [-(-resolution // 2)]
        for block in self.blocks:
            sizes.append(-(-sizes[-1] // 2) if block.index == 0 else sizes[-1])
        return tuple(sizes)

    def shapes(self, subnet):
        stem, *stages, _ = subnet.widths
        shapes, channels, sizes = [], stem, self.sizes(subnet.resolution)
        for number, (block, expand) in enumerate(zip(self.blocks, subnet.expands, strict=True)):
            if block.index < subnet.depths[block.stage]:
                width = stages[block.stage]
                sides = sizes[number : number + 2]
                shapes.append(BlockShape(block, channels, int(width * expand), width, *sides))
                channels = width
        return tuple(shapes)
