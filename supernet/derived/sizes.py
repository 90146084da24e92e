"""How many channels of each group the genes of a derived space keep."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ofa.supernet.derived.options import DerivedOptions
from ofa.supernet.derived.parts import Channels, Layout
from ofa.supernet.derived.scaling import make_divisible, share_of
from ofa.supernet.operators import Operators


class AxisSizes(NamedTuple):
    """How many channels are kept, for each option of the genes in ``columns``: integers with one axis a gene."""

    columns: tuple[int, ...]
    sizes: np.ndarray


@lru_cache(maxsize=1024)
def sides(layout: Layout, resolution: int, strides: tuple[tuple[str, int], ...] = ()) -> tuple[int, ...]:
    """Side of the map that each block reads, and last that the head reads; ``strides`` by the names of layers."""
    side, found, other = resolution, [], dict(strides)
    for part in (layout.stem, *(part for stage in layout.blocks for part in stage)):
        operators = [
            operator._replace(stride=other.get(path, operator.stride))
            for operator, path in zip(part.operators, part.paths, strict=True)
        ]
        side = int(Operators(layout.channels[part.axes[0]].size, tuple(operators)).shapes(side)[part.out].side)
        found.append(side)
    return tuple(found)


def axis_sizes(space: DerivedOptions, layout: Layout) -> tuple[AxisSizes, ...]:
    """For each group of channels, in the order of the layout, the genes that it depends on and what they keep."""
    sizes = _Sizes(space, layout)
    return tuple(sizes.of(number) for number in range(len(layout.channels)))


class _Sizes:
    """Sizes found so far: those of one group may depend on those of another."""

    def __init__(self, space: DerivedOptions, layout: Layout) -> None:
        self.space, self.layout = space, layout
        self._made: dict[int, AxisSizes] = {}

    def of(self, number: int) -> AxisSizes:
        if number not in self._made:
            channels = self.layout.channels[number]
            self._made[number] = _MAKERS.get(channels.role, _fixed)(self, channels)
        return self._made[number]


def _sizes(columns: tuple[int, ...], sizes: np.ndarray | list[int]) -> AxisSizes:
    return AxisSizes(columns, np.asarray(sizes, np.int64))


def _fixed(made: _Sizes, channels: Channels) -> AxisSizes:
    return _sizes((), channels.size)


def _width(made: _Sizes, channels: Channels) -> AxisSizes:
    space = made.space
    options = space.widths.get(channels.name, (channels.size,))
    if len(options) == 1:
        return _sizes((), options[0])
    (column,) = (number for number, gene in enumerate(space.genes) if gene.key == f"width_{channels.name}")
    return _sizes((column,), list(options))


# Of a ratio of channels that a block reads or gives, as the papers have them.
_ROUNDED = {"in": make_divisible, "out": lambda exact: make_divisible(round(exact)), "unrounded": int}


def _expand(made: _Sizes, channels: Channels) -> AxisSizes:
    """A block's middle: a share of its own channels, or a ratio of those that it reads or gives."""
    stage, block = int(channels.stage or 0), int(channels.block or 0)
    space = made.space
    ratios = space.stages[stage].blocks[block].values_of("expand") or (1,)
    if space.expand_of == "own":
        return _with_gene(space, channels, "expand", _sizes((), [share_of(channels.size, ratio) for ratio in ratios]))
    part = made.layout.blocks[stage][block]
    base = made.of(part.axes[part.out] if space.expand_of == "out" else part.axes[0])
    exact = base.sizes[..., None] * np.array(ratios, float)
    rounded = np.vectorize(_ROUNDED[space.expand_of])(exact)
    return _with_gene(space, channels, "expand", _sizes(base.columns, rounded))


def _heads(made: _Sizes, channels: Channels) -> AxisSizes:
    stage, block = int(channels.stage or 0), int(channels.block or 0)
    space = made.space
    heads = space.stages[stage].blocks[block].values_of("heads") or (channels.size // channels.step,)
    return _with_gene(space, channels, "heads", _sizes((), [number * channels.step for number in heads]))


def _with_gene(space: DerivedOptions, channels: Channels, role: str, sizes: AxisSizes) -> AxisSizes:
    """``sizes``, whose last axis is the options of the gene that chooses the block's ``role``, or one of no gene."""
    if sizes.sizes.shape[-1] == 1:
        return _sizes(sizes.columns, sizes.sizes[..., 0])
    stage, block = int(channels.stage or 0), int(channels.block or 0)
    own, chosen_by = space.genes_of_block(stage, block), space.stages[stage].blocks[block].role_of(role)
    (column,) = (number for number in own if space.genes[number].role == chosen_by)
    return _sizes((*sizes.columns, column), sizes.sizes)


def _follows(made: _Sizes, channels: Channels) -> AxisSizes:
    """In proportion to other channels: rounded as a share, or exactly where there are ``step`` to each of them."""
    other = made.layout.channels[int(channels.follows or 0)]
    base = made.of(int(channels.follows or 0))
    if channels.step:
        return _sizes(base.columns, base.sizes * channels.size // other.size)
    return _sizes(base.columns, np.vectorize(lambda size: share_of(channels.size, size / other.size))(base.sizes))


_MAKERS = {"width": _width, "expand": _expand, "heads": _heads, "follows": _follows}
