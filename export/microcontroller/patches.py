"""The first operators of a network computed patch by patch, so that their large maps exist for a patch alone.

As in MCUNetV2 (https://arxiv.org/abs/2110.15352, section 3.1): the map at a cut is divided into a grid of patches. For
each patch the operators before the cut run on windows that hold what the patch depends on. Neighbouring windows
overlap, and what lies in several is computed several times. Outside the image, and only there, windows are padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ofa.export.microcontroller.memory import arena_moments
from ofa.export.microcontroller.scratch import ALIGNMENT
from ofa.supernet.integers import round_up
from ofa.supernet.operators import Operator, Operators, Side, largest

GRIDS = (2, 3, 4)


@dataclass(frozen=True)
class Patches:
    """The first ``operators`` of a network run for each of ``grid`` x ``grid`` patches of what they give."""

    operators: int
    grid: int


class Windows(NamedTuple):
    """Along one axis, of each patch the positions ``start`` to ``stop`` of a map: integers ``(..., grid)``."""

    start: np.ndarray
    stop: np.ndarray

    @property
    def size(self) -> np.ndarray:
        return self.stop - self.start


def tiles(side: Side, grid: int) -> Windows:
    """A map of ``side`` divided into ``grid`` windows that differ by one position at most."""
    edges = np.expand_dims(side, -1) * np.arange(grid + 1) // grid
    return Windows(edges[..., :-1], edges[..., 1:])


def can_be_patched(part: Operators, *, first: bool = False) -> bool:
    """Whether the operators of ``part`` run on windows; of the ``first`` part, whether they can read the image."""
    if first and not (len(part) and part.operators[0].kind == "conv" and _reads(part, 0) == [0]):
        return False
    return all(
        (operator.kind == "add" and len(operator.inputs) == 2)
        or (operator.kind == "depthwise" and operator.kernel % 2 == 1)
        or (operator.kind == "conv" and operator.groups == 1)
        for operator in part
    )


def windows_of(part: Operators, sides: Sequence[Side], given: Windows) -> list[Windows] | None:
    """The windows of every tensor of ``part`` that its output's windows ``given`` depend on.

    ``sides`` are those of the tensors' maps: numbers, or arrays like ``given`` without its last axis. None where an
    operator would read a part of a window: only additions can.
    """
    found: list[Windows | None] = [None] * (len(part) + 1)
    found[len(part)] = given
    needs: list[tuple[int, Operator, Windows]] = []
    for number in range(len(part), 0, -1):
        operator, written = part.operators[number - 1], found[number]
        if written is None:
            return None
        for tensor in operator.inputs:
            side = np.expand_dims(sides[tensor], -1)
            need = _read(operator, written, side, padding_before(operator, sides[tensor], sides[number]))
            have = found[tensor]
            if have is not None:
                need_all = Windows(np.minimum(have.start, need.start), np.maximum(have.stop, need.stop))
            found[tensor] = need if have is None else need_all
            needs.append((tensor, operator, need))
    whole = all(
        operator.kind == "add" or all(np.array_equal(*pair) for pair in zip(need, found[tensor], strict=True))
        for tensor, operator, need in needs
    )
    return found if whole and all(found) else None


def padding_before(operator: Operator, read: Side, written: Side) -> Side:
    """The positions that are padded before a map of side ``read`` whose output has side ``written``."""
    if operator.same:
        return np.maximum((written - 1) * operator.stride + operator.kernel - read, 0) // 2
    return operator.padding


def padding_of_windows(operator: Operator, written: Windows, before: Side) -> np.ndarray:
    """The positions that are padded before each window that ``operator`` reads for the windows ``written``."""
    return np.maximum(np.expand_dims(before, -1) - written.start * operator.stride, 0)


def window_moments(
    part: Operators, windows: Sequence[Windows], *, in_place: bool, vectors: bool, first: bool
) -> list[Side]:
    """Bytes of the arena that live while each operator of ``part`` runs on a patch, besides the map at the cut.

    ``first``: its input is the image, which has a buffer of its own, and of which some rows are copied.
    """
    channels = [part.in_channels, *(operator.channels for operator in part)]
    sides = [window.size.max(-1) for window in windows]
    sizes = [of_tensor * side * side for of_tensor, side in zip(channels, sides, strict=True)]
    outside = (0,) if first else ()
    found = arena_moments(part, sizes, sides, in_place=in_place, vectors=vectors, outside=outside)
    if first:
        found[0] = found[0] + round_up(row_bytes(part, windows[0]), ALIGNMENT)
    return found


def row_bytes(part: Operators, image: Windows) -> Side:
    """Bytes of the rows of the image that its first convolution reads at once."""
    return part.operators[0].kernel * part.in_channels * image.size.max(-1)


def largest_moment(moments: Sequence[Side], *, besides: Side = 0) -> Side:
    """The bytes of an arena with these ``moments``, and ``besides`` at each."""
    return round_up(largest(moments) + besides, 16)


def _reads(part: Operators, tensor: int) -> list[int]:
    return [number for number, operator in enumerate(part) if tensor in operator.inputs]


def _read(operator: Operator, written: Windows, side: np.ndarray, before: Side) -> Windows:
    """What ``operator`` reads of a map of ``side`` for the windows ``written``."""
    if operator.kind == "add":
        return written
    before, stride = np.expand_dims(before, -1), operator.stride
    start = np.maximum(written.start * stride - before, 0)
    return Windows(start, np.minimum((written.stop - 1) * stride - before + operator.kernel, side))
