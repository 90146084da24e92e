"""Offsets of tensors in one memory, such that tensors that live at the same time do not overlap.

``plan`` searches for a layout of the smallest possible size and may find none. ``place`` always finds a
layout, with greedy orders. Sizes are multiples of the memory's alignment (``integers.round_up``), and so
are the offsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ofa.supernet.operators import moments

MAX_PLACEMENTS = 20_000  # tried by one search; networks need little more than one a tensor
_RANDOM_ORDERS = 60


class Lifetime(NamedTuple):
    """A tensor of ``size`` bytes that is needed from step ``first`` to step ``last``, both included."""

    size: int
    first: int
    last: int


def peak(lifetimes: Sequence[Lifetime]) -> int:
    """Bytes that live at once at the step that needs the most; no memory can be smaller."""
    return max(_moments(lifetimes), default=0)


def plan(lifetimes: Sequence[Lifetime]) -> list[int] | None:
    """An offset for each tensor, such that all end below ``peak``; None when the search finds none.

    Depth-first search in the order of time. Each tensor is tried at both ends of the memory and beside
    every placed tensor that lives at the same time.
    """
    limit = peak(lifetimes)
    order = sorted(range(len(lifetimes)), key=lambda index: (lifetimes[index].first, -lifetimes[index].last))
    offsets: dict[int, int] = {}
    # A stack: the offsets that are left to try for each of the first tensors of ``order``.
    candidates = [iter(_offsets_to_try(lifetimes, offsets, order[0], limit))]

    for _ in range(MAX_PLACEMENTS):
        index = order[len(candidates) - 1]
        offset = next(candidates[-1], None)

        # No offset is left: go back to the tensor before, and try its next offset.
        if offset is None:
            candidates.pop()
            if not candidates:
                return None
            del offsets[order[len(candidates) - 1]]
            continue

        offsets[index] = offset
        if len(candidates) == len(order):
            return [offsets[index] for index in range(len(lifetimes))]
        candidates.append(iter(_offsets_to_try(lifetimes, offsets, order[len(candidates)], limit)))
    return None


def place(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """An offset for each tensor and the size of the memory, which is ``peak`` or a little more.

    Tensors are placed greedily, in one order after another until one reaches ``peak``: the largest first,
    the most crowded step first, then random orders (the same in every run).
    """
    live = _moments(lifetimes)
    crowd = [-max(live[tensor.first : tensor.last + 1]) for tensor in lifetimes]

    # Each order is given by a sort key for every tensor.
    rng = np.random.default_rng(0)
    keys = [
        [-tensor.size for tensor in lifetimes],
        list(zip(crowd, (-tensor.size for tensor in lifetimes), strict=True)),
        [(most, tensor.first - tensor.last, -tensor.size) for most, tensor in zip(crowd, lifetimes, strict=True)],
        *(list(zip(crowd, rng.random(len(lifetimes)), strict=True)) for _ in range(_RANDOM_ORDERS)),
    ]

    best: tuple[list[int], int] | None = None
    for key in keys:
        layout = _greedy(lifetimes, sorted(range(len(lifetimes)), key=key.__getitem__))
        if best is None or layout[1] < best[1]:
            best = layout
        if best[1] == max(live, default=0):
            break
    return best


def _moments(lifetimes: Sequence[Lifetime]) -> list[int]:
    return moments([tensor[1:] for tensor in lifetimes], [tensor.size for tensor in lifetimes])


def _greedy(lifetimes: Sequence[Lifetime], order: Sequence[int]) -> tuple[list[int], int]:
    """Places each tensor in the first gap that is large enough."""
    offsets: dict[int, int] = {}
    for index in order:
        size = lifetimes[index].size
        offsets[index] = next(
            start for start, stop in _gaps(lifetimes, offsets, index, None) if stop is None or stop - start >= size
        )
    ends = (offset + lifetimes[index].size for index, offset in offsets.items())
    return [offsets[index] for index in range(len(lifetimes))], max(ends, default=0)


def _offsets_to_try(lifetimes: Sequence[Lifetime], offsets: Mapping[int, int], index: int, limit: int) -> list[int]:
    """Offsets at which the tensor fits between the placed tensors: both ends of each gap, the outermost first."""
    size = lifetimes[index].size
    offsets_to_try = {
        offset
        for start, stop in _gaps(lifetimes, offsets, index, limit)
        if stop - start >= size
        for offset in (start, stop - size)
    }
    return sorted(offsets_to_try, key=lambda offset: (min(offset, limit - offset - size), offset))


def _gaps(
    lifetimes: Sequence[Lifetime], offsets: Mapping[int, int], index: int, limit: int | None
) -> list[tuple[int, int | None]]:
    """(start, stop) of the free memory between the placed tensors that live at the same time as this one.

    The last gap stops at ``limit``.
    """
    _, first, last = lifetimes[index]
    taken = sorted(
        (offset, offset + lifetimes[placed].size)
        for placed, offset in offsets.items()
        if lifetimes[placed].first <= last and first <= lifetimes[placed].last
    )
    gaps, free = [], 0
    for start, stop in taken:
        gaps.append((free, start))
        free = max(free, stop)
    return [*gaps, (free, limit)]
