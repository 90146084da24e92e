"""The network around the cells: which cells there are, of how many channels, and the sides of their maps."""

from __future__ import annotations

from typing import NamedTuple

from ofa.supernet.integers import ceil_div

RESIDUAL = "residual"  # the kind of the blocks between the stages of NAS-Bench-201, in which nothing is chosen
REDUCTION = "reduction"


class Place(NamedTuple):
    """A cell, or a residual block, in the network.

    It reads the output of the one before, ``last``, and cells of two inputs also the output before that, ``older``.

    Attributes:
        kind: of the cell, or ``RESIDUAL``.
        channels: of each of its states.
        stride: 2 where it halves the map.
        last_channels, older_channels: that it reads.
        side: of the square map ``last``.
        older_stride: 2 where ``older`` has twice that side.
    """

    kind: str
    channels: int
    stride: int
    last_channels: int
    older_channels: int
    side: int
    older_stride: int

    @property
    def out_side(self) -> int:
        return ceil_div(self.side, self.stride)


class Skeleton(NamedTuple):
    """Channels after the stem (a 3x3 convolution), every place, and the channels that the classifier reads.

    ``act_in_head``: whether a batch norm and a ReLU stand before the pooling.
    """

    stem_channels: int
    places: tuple[Place, ...]
    head_channels: int
    act_in_head: bool


def stages_of_cells(*, nodes: int, channels: int, cells: int, resolution: int) -> Skeleton:
    """NAS-Bench-201: three stages of ``cells`` cells, and between them a residual block that halves the map.

    A cell's output is its last node, so that all cells of a stage have as many channels.
    """
    places, side = [], resolution
    for stage in range(3):
        width = channels * 2**stage
        if stage:
            places.append(Place(RESIDUAL, width, 2, width // 2, width // 2, side, 1))
            side = ceil_div(side, 2)
        places += [Place("cell", width, 1, width, width, side, 1)] * cells
    return Skeleton(channels, tuple(places), channels * 4, act_in_head=True)


def chain_of_cells(*, nodes: int, channels: int, cells: int, resolution: int) -> Skeleton:
    """DARTS and NASNet on small images: ``cells`` cells, of which those after one and two thirds are reduction cells
    with twice the channels.

    A cell reads the outputs of the two cells before it; its output has the channels of all its nodes.
    """
    reductions = {cells // 3, 2 * cells // 3}
    stem = 3 * channels
    older = last = stem
    places, side, older_stride = [], resolution, 1
    for number in range(cells):
        stride = 2 if number in reductions else 1
        channels *= stride
        places.append(Place(REDUCTION if stride == 2 else "normal", channels, stride, last, older, side, older_stride))
        older, last, older_stride, side = last, nodes * channels, stride, places[-1].out_side
    return Skeleton(stem, tuple(places), last, act_in_head=False)
