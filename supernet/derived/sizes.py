"""How many channels of each group the genes of a derived space keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ofa.supernet.derived.scaling import make_divisible, share_of

if TYPE_CHECKING:
    from ofa.supernet.derived.layout import Channels
    from ofa.supernet.derived.space import AxisSizes, DerivedSpace


def axis_sizes(space: DerivedSpace) -> tuple[AxisSizes, ...]:
    """For each group of channels, in the order of the layout, the genes that it depends on and what they keep."""
    made: dict[int, AxisSizes] = {}
    for number in range(len(space.layout.channels)):
        _size(space, number, made)
    return tuple(made[number] for number in range(len(space.layout.channels)))


def _size(space: DerivedSpace, number: int, made: dict[int, AxisSizes]) -> AxisSizes:
    if number not in made:
        channels = space.layout.channels[number]
        made[number] = _MAKERS.get(channels.role, _fixed)(space, channels, made)
    return made[number]


def _sizes(columns: tuple[int, ...], sizes: np.ndarray | list[int]) -> AxisSizes:
    from ofa.supernet.derived.space import AxisSizes

    return AxisSizes(columns, np.asarray(sizes, np.int64))


def _fixed(space: DerivedSpace, channels: Channels, made: dict[int, AxisSizes]) -> AxisSizes:
    return _sizes((), channels.size)


def _width(space: DerivedSpace, channels: Channels, made: dict[int, AxisSizes]) -> AxisSizes:
    options = space.widths.get(channels.name, (channels.size,))
    if len(options) == 1:
        return _sizes((), options[0])
    (column,) = (number for number, gene in enumerate(space.genes) if gene.key == f"width_{channels.name}")
    return _sizes((column,), list(options))


def _expand(space: DerivedSpace, channels: Channels, made: dict[int, AxisSizes]) -> AxisSizes:
    """A block's middle: a share of its own channels, or a ratio of those that it reads or gives."""
    stage, block = int(channels.stage or 0), int(channels.block or 0)
    ratios = space.stages[stage].blocks[block].expands or (1,)
    if space.expand_of == "own":
        return _with_gene(space, channels, "expand", _sizes((), [share_of(channels.size, ratio) for ratio in ratios]))
    part = space.layout.blocks[stage][block]
    base = _size(space, part.axes[0] if space.expand_of == "in" else part.axes[part.out], made)
    exact = base.sizes[..., None] * np.array(ratios, float)
    rounded = np.vectorize(lambda value: make_divisible(round(value) if space.expand_of == "out" else value))(exact)
    return _with_gene(space, channels, "expand", _sizes(base.columns, rounded))


def _heads(space: DerivedSpace, channels: Channels, made: dict[int, AxisSizes]) -> AxisSizes:
    stage, block = int(channels.stage or 0), int(channels.block or 0)
    heads = space.stages[stage].blocks[block].heads or (channels.size // channels.step,)
    return _with_gene(space, channels, "heads", _sizes((), [number * channels.step for number in heads]))


def _with_gene(space: DerivedSpace, channels: Channels, role: str, sizes: AxisSizes) -> AxisSizes:
    """``sizes``, whose last axis is the options of the block's gene of ``role``, or one entry without a gene."""
    if sizes.sizes.shape[-1] == 1:
        return _sizes(sizes.columns, sizes.sizes[..., 0])
    own = space.genes_of_block(channels.stage, int(channels.block or 0))
    (column,) = (number for number in own if space.genes[number].role == role)
    return _sizes((*sizes.columns, column), sizes.sizes)


def _follows(space: DerivedSpace, channels: Channels, made: dict[int, AxisSizes]) -> AxisSizes:
    """In proportion to other channels: rounded as a share, or exactly where there are ``step`` to each of them."""
    other = space.layout.channels[int(channels.follows or 0)]
    base = _size(space, int(channels.follows or 0), made)
    if channels.step:
        return _sizes(base.columns, base.sizes * channels.size // other.size)
    return _sizes(base.columns, np.vectorize(lambda size: share_of(channels.size, size / other.size))(base.sizes))


_MAKERS = {"width": _width, "expand": _expand, "heads": _heads, "follows": _follows}
