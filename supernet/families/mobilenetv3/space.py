"""The layout of MobileNetV3 as a search space; needs no torch.

Genes, in order: resolution; depth of each stage; kernel of each block; expand ratio of each block.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from ofa.supernet.genome import Gene
from ofa.supernet.integers import ceil_div
from ofa.supernet.space import SOME, BlockPosition, BlockShape, SearchSpace, Section, Subnet, ascending

# Far above every published network of this kind: what is larger is a slip of the pen, or meant to fill the memory.
MAX_WIDTH = 16_384  # channels
MAX_DEPTH = 32  # blocks of a stage
MAX_STAGES = 32
MAX_BLOCKS = 128  # of the largest network
MAX_TABLE = 100_000  # blocks of all kinds at all resolutions: the entries of a cost table
MAX_PARAMETERS = 300_000_000

Stride = Annotated[int, Field(ge=1, le=2)]
Kernel = Annotated[int, Field(ge=1, le=31)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Depth = Annotated[int, Field(ge=1, le=MAX_DEPTH)]
# 3.0 becomes 3, so that one network is written one way. Smaller ratios would need an exponent in CSV files.
Ratio = Annotated[
    float, Field(ge=0.01, le=100), AfterValidator(lambda value: int(value) if value == int(value) else value)
]
Activation = Literal["relu", "relu6", "hard_swish", "swish"]


def mid_channels(in_channels: int, expand: float, divisor: int = 8) -> int:
    """Channels of a block's middle: timm's ``make_divisible``, restated because timm imports torch."""
    exact = in_channels * expand
    channels = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return channels + divisor if channels < 0.9 * exact else channels


class Stem(Section):
    """The fixed beginning: a 3x3 convolution of ``stride``, then one depthwise separable block of ``first_width``."""

    width: Width = Field(16, description="Channels of the convolution.")
    stride: Stride = Field(2, description="Stride of the convolution.")
    first_width: Width = Field(16, description="Channels that the separable block gives.")
    first_act: Activation = Field("relu", description="Activation function of the separable block.")


class Stage(Section):
    """Blocks of one width; the first has ``stride``. Options are ascending."""

    width: Width = Field(description="Channels that every block of the stage gives.")
    stride: Stride = Field(1, description="Stride of the first block.")
    depths: Annotated[tuple[Depth, ...], SOME] = Field((2, 3, 4), description="Numbers of blocks to choose from.")
    kernels: Annotated[tuple[Kernel, ...], SOME] = Field(
        (3, 5, 7), description="Odd kernel sizes that each block chooses from."
    )
    expands: Annotated[tuple[Ratio, ...], SOME] = Field(
        (3, 4, 6), description="Ratios of middle to input channels that each block chooses from."
    )
    act: Activation = Field("relu", description="Activation function of the blocks.")
    se: bool = Field(False, description="Whether the blocks have squeeze-and-excite.")

    @model_validator(mode="after")
    def _check(self) -> Stage:
        for name in ("depths", "kernels", "expands"):
            ascending(name, getattr(self, name))
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels {list(self.kernels)}: only odd kernel sizes keep the image centred")
        return self


class Head(Section):
    """The fixed end: 1x1 convolution to ``width``, average pool, 1x1 convolution to ``features``, linear classifier."""

    width: Width = Field(960, description="Channels before the average pool.")
    features: Width = Field(1280, description="Features that the classifier reads.")


class Space(SearchSpace):
    """The choices: resolution, and per stage depth, kernel and expand ratio.

    The layout follows "Once-for-All" (https://arxiv.org/abs/1908.09791): a stage keeps its first ``depth`` blocks.
    """

    timm_class: ClassVar[str] = "timm.models.MobileNetV3"
    shrinking: ClassVar[tuple[str, ...]] = ("kernel", "depth", "expand")

    family: Literal["mobilenetv3"] = Field("mobilenetv3", description="Family of networks.")
    stem: Stem = Field(Stem(), description="The fixed beginning.")
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=MAX_STAGES)] = Field(
        description="The stages of elastic blocks, in order."
    )
    head: Head = Field(Head(), description="The fixed end.")
    act: Activation = Field("hard_swish", description="Activation function of stem and head.")

    @model_validator(mode="after")
    def _check(self) -> Space:
        ascending("resolutions", self.resolutions)
        if len(self.blocks) > MAX_BLOCKS:
            raise ValueError(f"the largest network has {len(self.blocks)} blocks; there may be {MAX_BLOCKS}")
        self._check_amounts()
        strides = math.prod(stage.stride for stage in self.stages)
        if strides > 16:
            raise ValueError(f"the stages' strides multiply to {strides}; timm's MobileNetV3 allows at most 16")
        if self.resolutions[0] < strides * self.stem.stride:
            raise ValueError(
                f"resolution {self.resolutions[0]} is below the network's total stride {strides * self.stem.stride}"
            )
        for block in self.blocks:
            expands = self.stages[block.stage].expands
            widths = [mid_channels(block.in_channels, expand) for expand in expands]
            if len(set(widths)) < len(widths):
                raise ValueError(
                    f"stages.{block.stage}: expand ratios {list(expands)} of {block.in_channels} channels round to the "
                    f"widths {widths}, so two of them are one network; spread the ratios"
                )
        return self

    def _check_amounts(self) -> None:
        """Raises ``ValueError`` for more kinds of blocks, or larger networks, than fit in memory."""
        kinds = len(self.resolutions) * len(self.blocks) * self.max_options("kernel") * self.max_options("expand")
        if kinds > MAX_TABLE:
            raise ValueError(f"{kinds:,} kinds of blocks, resolutions counted; there may be {MAX_TABLE:,}")
        head = self.head
        total = self.stages[-1].width * head.width + head.width * head.features
        for block in self.blocks:
            stage = self.stages[block.stage]
            mid = mid_channels(block.in_channels, stage.expands[-1])
            total += mid * (block.in_channels + stage.width + stage.kernels[-1] ** 2 + stage.se * mid // 2)
        if total > MAX_PARAMETERS:
            raise ValueError(f"the largest network has {total:,} weights; there may be {MAX_PARAMETERS:,}")

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        return (
            Gene("resolution", self.resolutions),
            *(Gene("depth", stage.depths, number) for number, stage in enumerate(self.stages)),
            *(Gene("kernel", self.stages[block.stage].kernels, block.stage, block.index) for block in self.blocks),
            *(Gene("expand", self.stages[block.stage].expands, block.stage, block.index) for block in self.blocks),
        )

    @cached_property
    def blocks(self) -> tuple[BlockPosition, ...]:
        blocks, channels = [], self.stem.first_width
        for number, stage in enumerate(self.stages):
            for index in range(stage.depths[-1]):
                blocks.append(BlockPosition(number, index, channels))
                channels = stage.width
        return tuple(blocks)

    @cached_property
    def operators(self) -> frozenset[str]:
        acts = {self.act, self.stem.first_act, *(stage.act for stage in self.stages)}
        return frozenset(acts | ({"squeeze_excite"} if any(stage.se for stage in self.stages) else set()))

    def stride(self, block: BlockPosition) -> int:
        """Of a block's depthwise convolution."""
        return self.stages[block.stage].stride if block.index == 0 else 1

    def sizes(self, resolution: int) -> tuple[int, ...]:
        sizes = [ceil_div(resolution, self.stem.stride)]
        for block in self.blocks:
            sizes.append(ceil_div(sizes[-1], self.stride(block)))
        return tuple(sizes)

    def shapes(self, subnet: Subnet) -> tuple[BlockShape, ...]:
        sizes = self.sizes(subnet.resolution)
        return tuple(
            BlockShape(
                block,
                block.in_channels,
                mid_channels(block.in_channels, expand),
                self.stages[block.stage].width,
                in_side,
                ceil_div(in_side, self.stride(block)),
            )
            for block, expand, in_side in zip(self.blocks, subnet.expands, sizes[:-1], strict=True)
            if block.index < subnet.depths[block.stage]
        )
