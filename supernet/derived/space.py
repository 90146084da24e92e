"""The space of a plain timm model: its genes as data, which need no torch, and what they choose, which does.

Genes, in order: resolution; depth of each stage; widths; kernels, expand ratios and heads, block after block. A gene
with one option is left out, depth apart.
"""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from ofa.supernet.genome import Gene
from ofa.supernet.space import (
    SOME,
    BlockPosition,
    BlockShape,
    PartColumns,
    SearchSpace,
    Section,
    Subnet,
    ascending,
)

if TYPE_CHECKING:
    from ofa.supernet.derived.layout import Layout, PartLayout

MAX_BLOCKS = 512  # of the largest network
MAX_TABLE = 2_000_000  # entries of a cost table

_COMMON = frozenset({"conv", "depthwise", "linear", "pool", "add", ""})  # operators that every runtime has
_SPECIAL = {"mul": "squeeze_excite"}  # what runtimes call a product of a map and a gate

Options = Annotated[tuple[Annotated[int, Field(ge=0)], ...], SOME]
# 1.0 becomes 1, so that one network is written one way.
Ratio = Annotated[
    float, Field(ge=0.01, le=100), AfterValidator(lambda value: int(value) if value == int(value) else value)
]


class Block(Section):
    """What a block may choose, each ascending; a choice that it does not have is left out."""

    in_channels: int = Field(description="Channels that it reads in the largest network.")
    kernels: dict[str, Options] = Field({}, description="Sizes of each depthwise convolution's kernel, by its name.")
    expands: Annotated[tuple[Ratio, ...], Field(max_length=127)] = Field((), description="Ratios of middle channels.")
    heads: Annotated[tuple[int, ...], Field(max_length=127)] = Field((), description="Numbers of attention heads.")


class Stage(Section):
    """Blocks in order, and how many of them run."""

    depths: Options = Field(description="Numbers of blocks to choose from, ascending.")
    blocks: Annotated[tuple[Block, ...], SOME] = Field(description="The blocks of the largest network.")


class AxisSizes(NamedTuple):
    """How many channels are kept, for each option of the genes in ``columns``: integers with one axis a gene."""

    columns: tuple[int, ...]
    sizes: np.ndarray


class DerivedSpace(SearchSpace):
    """The choices of a plain timm model.

    Attributes:
        timm: the name that timm knows the largest network by, or ``"timm.models."`` and a class.
        arguments: of it, as JSON values.
        widths: channels to choose from by the names of the layout (``layout.Channels.name``).
        expand_of: what an expand ratio is of: the model's own middle channels, or those that the block reads or gives.
    """

    timm: str = Field(description="Name of the model in timm, or `timm.models.` and a class.")
    arguments: dict[str, Any] = Field({}, description="Arguments of the model.")
    stages: Annotated[tuple[Stage, ...], SOME] = Field(description="Stages of blocks, in order.")
    widths: dict[str, Options] = Field({}, description="Channels to choose from, of each width.")
    expand_of: Literal["own", "in", "out"] = Field(
        "own", description="What expand ratios are of: the model's own middle channels, or a block's input or output."
    )

    @model_validator(mode="after")
    def _check(self) -> DerivedSpace:
        ascending("resolutions", self.resolutions)
        for name, options in self.widths.items():
            ascending(f"widths {name}", options)
        for stage in self.stages:
            ascending("depths", stage.depths)
            if stage.depths[-1] != len(stage.blocks) or stage.depths[0] < 1:
                raise ValueError(f"depths {list(stage.depths)} of a stage of {len(stage.blocks)} blocks")
            for block in stage.blocks:
                for options in (*block.kernels.values(), block.expands, block.heads):
                    ascending("options of a block", options)
        if len(self.blocks) > MAX_BLOCKS:
            raise ValueError(f"the largest network has {len(self.blocks)} blocks; there may be {MAX_BLOCKS}")
        return self

    @property
    def timm_class(self) -> str:  # what a report calls it
        return self.timm

    # -- genes ----------------------------------------------------------------------------------------------------

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        genes = [Gene("resolution", self.resolutions)]
        genes += [Gene("depth", stage.depths, number) for number, stage in enumerate(self.stages)]
        for name, options in self.widths.items():
            if len(options) > 1:
                number = name.split(".")[0]
                genes.append(Gene("width", options, int(number) if number.isdigit() else None, name=f"width_{name}"))
        places = [
            (number, index, block)
            for number, stage in enumerate(self.stages)
            for index, block in enumerate(stage.blocks)
        ]
        for number, index, block in places:
            for leaf, options in block.kernels.items():
                if len(options) > 1:
                    name = "kernel" if len(block.kernels) == 1 else f"kernel_{leaf}"
                    genes.append(Gene("kernel", options, number, index, name=name))
        for role, field in (("expand", "expands"), ("heads", "heads")):
            genes += [
                Gene(role, options, number, index)
                for number, index, block in places
                if len(options := getattr(block, field)) > 1
            ]
        return tuple(genes)

    @cached_property
    def blocks(self) -> tuple[BlockPosition, ...]:
        return tuple(
            BlockPosition(number, index, block.in_channels)
            for number, stage in enumerate(self.stages)
            for index, block in enumerate(stage.blocks)
        )

    # -- what they choose: from here on the model is walked, with torch ----------------------------------------------

    @cached_property
    def layout(self) -> Layout:
        """The parts and channels of the largest network."""
        from ofa.supernet.derived.layout import layout_of

        family = import_module(f"ofa.supernet.families.{self.family}.timm_parts")
        return layout_of(family, self.timm, self.arguments, self.resolutions)

    @cached_property
    def axis_sizes(self) -> tuple[AxisSizes, ...]:
        """How many of each group of the layout's channels are kept."""
        from ofa.supernet.derived.sizes import axis_sizes

        return axis_sizes(self)

    def sizes_of(self, subnet: Subnet) -> list[int]:
        """Of each group of the layout's channels, how many ``subnet`` keeps; of blocks that do not run, the fewest."""
        code = self.encode(subnet)
        return [int(sizes[tuple(code[list(columns)])]) for columns, sizes in self.axis_sizes]

    @cached_property
    def part_columns(self) -> PartColumns:
        layout = self.layout

        def of(part: PartLayout, own: tuple[int, ...] = ()) -> dict[str, int]:
            axes = (*part.axes, *(axis for axis in part.groups if axis is not None))
            columns = sorted({column for axis in axes for column in self.axis_sizes[axis].columns} | set(own))
            return {self.genes[column].key: column for column in columns}

        parts = [part for stage in layout.blocks for part in stage]
        blocks = tuple(
            of(part, self.genes_of_block(block.stage, block.index))
            for block, part in zip(self.blocks, parts, strict=True)
        )
        return PartColumns(of(layout.stem), blocks, of(layout.head))

    def kernels_of(self, position: BlockPosition, choices: dict[str, Any]) -> dict[str, int]:
        """The kernel of each depthwise convolution of a block that has a choice, by the layer's name in the model."""
        block, container = self.stages[position.stage].blocks[position.index], self.layout.containers[position.stage]
        chosen = {}
        for leaf, options in block.kernels.items():
            key = "kernel" if len(block.kernels) == 1 else f"kernel_{leaf}"
            chosen[f"{container}.{position.index}.{leaf}"] = choices.get(key, options[-1])
        return chosen

    @cached_property
    def kernel_options(self) -> dict[str, tuple[int, ...]]:
        """The kernels of each depthwise convolution that has a choice, by the layer's name in the model."""
        return {
            f"{container}.{index}.{leaf}": options
            for stage, container in zip(self.stages, self.layout.containers, strict=True)
            for index, block in enumerate(stage.blocks)
            for leaf, options in block.kernels.items()
        }

    def chosen_kernels(self, subnet: Subnet) -> dict[str, int]:
        """The kernel of each of these in ``subnet``."""
        choices = self.choices(subnet).blocks
        chosen: dict[str, int] = {}
        for position in self.blocks:
            chosen |= self.kernels_of(position, choices[position.stage, position.index])
        return chosen

    @cached_property
    def operators(self) -> frozenset[str]:
        """Names of activation functions, and kinds of operators beyond those that every runtime has."""
        parts = (self.layout.stem, *(part for stage in self.layout.blocks for part in stage), self.layout.head)
        found = {name for part in parts for operator in part.operators for name in (operator.kind, operator.act)}
        return frozenset(_SPECIAL.get(name, name) for name in found - _COMMON)

    def sizes(self, resolution: int) -> tuple[int, ...]:
        from ofa.supernet.derived.operators import sides

        return sides(self.layout, resolution)

    def shapes(self, subnet: Subnet) -> tuple[BlockShape, ...]:
        layout, kept, sides = self.layout, self.sizes_of(subnet), self.sizes(subnet.resolution)
        shapes = []
        for number, position in enumerate(self.blocks):
            if position.index >= subnet.depths[position.stage]:
                continue
            part = layout.blocks[position.stage][position.index]
            middle = [axis for axis in part.axes if layout.channels[axis].role in ("expand", "heads")]
            given = part.axes[part.out]
            inside = max((kept[axis] for axis in middle), default=kept[given])
            shapes.append(
                BlockShape(position, kept[part.axes[0]], inside, kept[given], sides[number], sides[number + 1])
            )
        return tuple(shapes)
