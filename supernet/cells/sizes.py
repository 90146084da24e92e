"""How many weights the parts of cell networks have. Each weight is used once at every position that is written, so
multiply-accumulates follow from them. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ofa.supernet.cells.skeleton import Place
from ofa.supernet.cells.subnet import NONE


class Size(NamedTuple):
    """Weights of convolutions; channels of batch norms with scale and shift."""

    weights: int
    norms: int = 0

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return self.weights + 2 * self.norms

    def macs(self, side: int) -> int:
        """Multiply-accumulates for one image; ``side`` is of the square map that the convolutions write."""
        return self.weights * side * side


def _skip(channels: int, stride: int) -> Size:
    return Size(0) if stride == 1 else Size(channels * channels, channels)


def _conv(channels: int, stride: int, *, positions: int) -> Size:
    return Size(positions * channels * channels, channels)


def _separable(channels: int, stride: int, *, kernel: int, repeats: int) -> Size:
    return Size(repeats * (kernel * kernel * channels + channels * channels), repeats * channels)


def _nothing(channels: int, stride: int) -> Size:
    return Size(0)


# Of an operation with so many channels and such a stride; batch norms after pools have no scale and shift.
OPERATION_SIZES: dict[str, Callable[[int, int], Size]] = {
    NONE: _nothing,
    "skip_connect": _skip,
    "nor_conv_1x1": partial(_conv, positions=1),
    "nor_conv_3x3": partial(_conv, positions=9),
    "dilated_conv_3x3": partial(_conv, positions=9),
    "conv_1x3_3x1": partial(_conv, positions=6),
    "conv_1x7_7x1": partial(_conv, positions=14),
    "sep_conv_3x3": partial(_separable, kernel=3, repeats=2),
    "sep_conv_5x5": partial(_separable, kernel=5, repeats=2),
    "sep_conv_7x7": partial(_separable, kernel=7, repeats=2),
    "dil_conv_3x3": partial(_separable, kernel=3, repeats=1),
    "dil_conv_5x5": partial(_separable, kernel=5, repeats=1),
    "avg_pool_3x3": _nothing,
    "max_pool_3x3": _nothing,
    "max_pool_5x5": _nothing,
    "max_pool_7x7": _nothing,
}


def residual(place: Place) -> Size:
    """A residual block: two 3x3 convolutions and a 1x1 convolution beside them."""
    read, written = place.last_channels, place.channels
    return Size(9 * (read * written + written * written) + read * written, 2 * written)
