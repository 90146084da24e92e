"""The space of a plain timm model: what its genes choose is known by walking the model, with torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from typing import Any

from ofa.supernet.derived.block import Alternative
from ofa.supernet.derived.fits import check_fits
from ofa.supernet.derived.options import DerivedOptions
from ofa.supernet.derived.parts import Layout, PartLayout
from ofa.supernet.derived.sizes import AxisSizes, axis_sizes, sides
from ofa.supernet.derived.strides import (
    StrideOptions,
    chosen_strides,
    earlier_strides,
    kernel_key,
    stem_genes,
    stride_genes,
    stride_layers,
)
from ofa.supernet.space import BlockPosition, BlockShape, PartColumns, Subnet

_COMMON = frozenset({"conv", "depthwise", "linear", "pool", "add", ""})  # operators that every runtime has
_SPECIAL = {"mul": "squeeze_excite"}  # what runtimes call a product of a map and a gate


class DerivedSpace(DerivedOptions):
    """The choices of a plain timm model, and the network that they are choices of."""

    @cached_property
    def layout(self) -> Layout:
        """The parts and channels of the largest network. Raises ``ValueError`` for choices that it does not have."""
        walker = import_module("ofa.supernet.derived.layout")  # it imports torch, which genes do not need
        layout = walker.layout_of(
            self.family,
            self.timm,
            self.arguments,
            self.resolutions,
            self.alternatives,
            stages_of_one_width=self.stages_of_one_width,
        )
        check_fits(self, layout)
        return layout

    @cached_property
    def axis_sizes(self) -> tuple[AxisSizes, ...]:
        """How many of each group of the layout's channels are kept."""
        return axis_sizes(self, self.layout)

    def channels_kept(self, subnet: Subnet) -> list[int]:
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
            of(part, (*self.genes_of_block(block.stage, block.index), *earlier_strides(self.genes, block.stage)))
            for block, part in zip(self.blocks, parts, strict=True)
        )
        keys = {gene.key for gene in (*stem_genes(self.stem), *stride_genes(self.stem, []))}
        of_stem = tuple(column for column, gene in enumerate(self.genes) if gene.block is None and gene.key in keys)
        return PartColumns(
            of(layout.stem, of_stem), blocks, of(layout.head, tuple(earlier_strides(self.genes, len(self.stages))))
        )

    @cached_property
    def stride_layers(self) -> dict[str, StrideOptions]:
        """The layers whose stride the space tells, by their names in the model."""
        return stride_layers(self.stem, [stage.blocks for stage in self.stages], self.layout.containers)

    def kernels_of_stem(self, choices: Mapping[str, Any]) -> dict[str, int]:
        """The kernel of each layer before the blocks that has a choice, by its name in the model."""
        return {name: choices.get(kernel_key(name), options[-1]) for name, options in self.stem.kernels.items()}

    def kernels_of(self, position: BlockPosition, choices: dict[str, Any]) -> dict[str, int]:
        """The kernel of each depthwise convolution of a block that has a choice, by the layer's name in the model.

        0 for one that is left out.
        """
        block, name = self.stages[position.stage].blocks[position.index], self.block_name(position)
        return {f"{name}.{leaf}": kernel for leaf, kernel in block.chosen_kernels(choices).items()}

    def block_name(self, position: BlockPosition) -> str:
        """Its name in the model."""
        return f"{self.layout.containers[position.stage]}.{position.index}"

    def part_of(self, position: BlockPosition, choices: dict[str, Any]) -> PartLayout:
        """What runs in the place of a block: itself, or another block that ``choices`` put there."""
        stage, index, _ = position
        number = self.stages[stage].blocks[index].alternative(choices)
        return self.layout.blocks[stage][index] if number is None else self.layout.alternatives[stage, index, number]

    def replaced(self, subnet: Subnet) -> dict[str, str]:
        return {
            f"{self.layout.containers[one.stage]}.{one.index}": one.path(self.layout.containers)
            for one in self.chosen_alternatives(subnet)
        }

    def chosen_alternatives(self, subnet: Subnet) -> list[Alternative]:
        """The blocks that stand in the places of others in ``subnet``, of those that run."""
        choices = self.choices(subnet).blocks
        return [
            one
            for one in self.alternatives
            if one.index < subnet.depths[one.stage]
            and self.stages[one.stage].blocks[one.index].alternative(choices[one.stage, one.index]) == one.number
        ]

    @cached_property
    def kernel_options(self) -> dict[str, tuple[int, ...]]:
        """The kernels of each convolution that has a choice, by the layer's name in the model."""
        return dict(self.stem.kernels) | {
            f"{self.block_name(position)}.{leaf}": options
            for position in self.blocks
            for leaf, options in self.stages[position.stage].blocks[position.index].kernel_options.items()
        }

    def chosen_kernels(self, subnet: Subnet) -> dict[str, int]:
        """The kernel of each of these in ``subnet``."""
        choices = self.choices(subnet)
        chosen = self.kernels_of_stem(choices.stem)
        for position in self.blocks:
            chosen |= self.kernels_of(position, choices.blocks[position.stage, position.index])
        return chosen

    def chosen_strides(self, subnet: Subnet) -> dict[str, int]:
        """The stride of each layer whose stride the space tells, by its name in the model."""
        return chosen_strides(self.stride_layers, self.choices(subnet).head)

    @cached_property
    def operators(self) -> frozenset[str]:
        """Names of activation functions, and kinds of operators beyond those that every runtime has."""
        blocks = [*(part for stage in self.layout.blocks for part in stage), *self.layout.alternatives.values()]
        parts = (self.layout.stem, *blocks, self.layout.head)
        found = {name for part in parts for operator in part.operators for name in (operator.kind, operator.act)}
        return frozenset(_SPECIAL.get(name, name) for name in found - _COMMON)

    def sizes(self, resolution: int) -> tuple[int, ...]:
        return self.strided_sizes(resolution, {})

    def strided_sizes(self, resolution: int, strides: Mapping[str, int]) -> tuple[int, ...]:
        return sides(self.layout, resolution, tuple(chosen_strides(self.stride_layers, strides).items()))

    def shapes(self, subnet: Subnet) -> tuple[BlockShape, ...]:
        layout, kept, sides = self.layout, self.channels_kept(subnet), self.sizes_of(subnet)
        shapes, choices = [], self.choices(subnet).blocks
        for number, position in enumerate(self.blocks):
            if position.index >= subnet.depths[position.stage]:
                continue
            part = self.part_of(position, choices[position.stage, position.index])
            middle = [axis for axis in part.axes if layout.channels[axis].role in ("expand", "heads")]
            given = part.axes[part.out]
            inside = max((kept[axis] for axis in middle), default=kept[given])
            shapes.append(
                BlockShape(position, kept[part.axes[0]], inside, kept[given], sides[number], sides[number + 1])
            )
        return tuple(shapes)
