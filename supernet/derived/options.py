"""The genes of a derived space, as data: nothing here needs torch.

Genes, in order: resolution; depth of each stage; widths; kernels (those of the stem first), expand ratios, heads and
kinds, block after block; strides. A gene with one option is left out, depth apart.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ofa.supernet.derived.arguments import check_arguments
from ofa.supernet.derived.block import KIND, Alternative, Block, Options
from ofa.supernet.derived.strides import Stem, check_strides, stem_genes, stride_genes
from ofa.supernet.genome import Gene
from ofa.supernet.space import SOME, BlockPosition, SearchSpace, Section, ascending

MAX_BLOCKS = 512  # of the largest network
MAX_TABLE = 100_000  # blocks of all kinds at all resolutions, widths apart

_LEFT_OUT = ("stem", "stages_of_one_width")


class Stage(Section):
    """Blocks in order, and how many of them run."""

    depths: Options = Field(description="Numbers of blocks to choose from, ascending.")
    blocks: Annotated[tuple[Block, ...], SOME] = Field(description="The blocks of the largest network.")


class DerivedOptions(SearchSpace):
    """The choices of a plain timm model, as data.

    Attributes:
        timm: the name that timm knows the largest network by, or ``"timm.models."`` and a class.
        arguments: of it, as JSON values.
        widths: channels to choose from by the names of the layout (``layout.Channels.name``).
        expand_of: what an expand ratio is of: the model's own middle channels, or those that the block reads or gives,
            in multiples of 8; ``"unrounded"``: those that it reads, to the channel.
        stem: choices of the layers before the blocks.
        stages_of_one_width: whether the blocks of a stage give as many channels as its first, where no addition makes
            them; they can then be left out, too.
    """

    timm: str = Field(description="Name of the model in timm, or `timm.models.` and a class.")
    arguments: dict[str, Any] = Field({}, description="Arguments of the model.")
    stages: Annotated[tuple[Stage, ...], SOME] = Field(description="Stages of blocks, in order.")
    widths: dict[str, Options] = Field({}, description="Channels to choose from, of each width.")
    expand_of: Literal["own", "in", "out", "unrounded"] = Field(
        "own", description="What expand ratios are of: the model's own middle channels, or a block's input or output."
    )
    stem: Stem = Field(Stem(), description="Choices of the layers before the blocks.")
    stages_of_one_width: bool = Field(False, description="Whether a stage has one width without residual additions.")

    @model_validator(mode="after")
    def _check(self) -> DerivedOptions:
        check_arguments(self.arguments)
        ascending("resolutions", self.resolutions)
        for name, options in self.widths.items():
            ascending(f"widths {name}", options)
        check_strides(self.stem, [stage.blocks for stage in self.stages])
        for name, options in self.stem.kernels.items():
            ascending(f"stem.kernels {name}", options)
        for stage in self.stages:
            ascending("depths", stage.depths)
            if stage.depths[-1] != len(stage.blocks):
                raise ValueError(f"depths {list(stage.depths)} of a stage of {len(stage.blocks)} blocks")
        if len(self.blocks) > MAX_BLOCKS:
            raise ValueError(f"the largest network has {len(self.blocks)} blocks; there may be {MAX_BLOCKS}")
        kinds = len(self.resolutions) * sum(
            math.prod(len(self.genes[column].options) for column in self.genes_of_block(block.stage, block.index))
            for block in self.blocks
        )
        if kinds > MAX_TABLE:
            raise ValueError(f"{kinds:,} kinds of blocks, resolutions counted; there may be {MAX_TABLE:,}")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a space does not have is left out, so that others are written as by versions without it."""
        return {key: value for key, value in serialize(self).items() if value or key not in _LEFT_OUT}

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
        genes += stem_genes(self.stem)
        for role in ("kernel", "expand", "heads", KIND):
            genes += [gene for number, index, block in places for gene in block.genes(role, number, index)]
        genes += stride_genes(self.stem, [stage.blocks for stage in self.stages])
        return tuple(genes)

    @cached_property
    def blocks(self) -> tuple[BlockPosition, ...]:
        return tuple(
            BlockPosition(number, index, block.in_channels)
            for number, stage in enumerate(self.stages)
            for index, block in enumerate(stage.blocks)
        )

    @cached_property
    def alternatives(self) -> tuple[Alternative, ...]:
        """The blocks that may stand in the place of others."""
        return tuple(
            Alternative(number, index, kind, list(block.kinds.values())[kind].block)
            for number, stage in enumerate(self.stages)
            for index, block in enumerate(stage.blocks)
            for kind in block.alternatives
        )
