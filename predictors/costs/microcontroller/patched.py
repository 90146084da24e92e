"""What every network of a space costs when its first blocks are computed in patches, and which patches are best.

A block's cost depends on the windows that the blocks behind it read, and so on their kernels. Windows take few
values, so all of them are numbered: for each block a table says what it costs with each choice and each window of
its output, and which window of its input that needs. A code then walks from a cut to the stem, a look-up a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ofa.export.microcontroller.patches import (
    GRIDS,
    Windows,
    can_be_patched,
    largest_moment,
    tiles,
    window_moments,
    windows_of,
)
from ofa.export.microcontroller.scratch import ALIGNMENT
from ofa.predictors.costs.counts import sides_read
from ofa.predictors.costs.part_genes import distinct, every_choice
from ofa.supernet.families.operators import operators_of_family
from ofa.supernet.integers import round_up
from ofa.supernet.operators import Operators, Side
from ofa.supernet.space import SearchSpace

IMPOSSIBLE = 2**40  # bytes, where a block cannot be computed in patches
_UNKNOWN = -1

# Costs of a part on windows: the part, sides of its tensors, their windows, and whether it writes the map at the cut
# and reads the image.
Count = Callable[[Operators, Sequence[Side], Sequence[Windows], np.ndarray, bool], Side]


class Costs(NamedTuple):
    """Bytes of the arena, multiply-accumulates, and what else is counted, of each network."""

    arena: np.ndarray
    macs: np.ndarray
    counted: np.ndarray


class _Step(NamedTuple):
    """A part with every window of its output (rows) and every choice (columns), flat; the last column is 'off'."""

    columns: int
    genes: tuple[int, ...]
    strides: np.ndarray
    next: np.ndarray
    arena: np.ndarray
    macs: np.ndarray
    counted: np.ndarray


@dataclass(frozen=True, eq=False)
class Walk:
    """The tables of one grid.

    Attributes:
        begin: by cut, the number of the windows of the map there at each resolution; -1 where it is too small.
        steps: of the stem (0) and of each block before a cut.
    """

    grid: int
    begin: list[np.ndarray]
    steps: dict[int, _Step]

    def costs(self, codes: np.ndarray, resolution: np.ndarray, cut: int, off: np.ndarray) -> Costs:
        """Of what runs in patches before ``cut``; ``off`` ``(n, blocks)`` says which blocks do not run."""
        state = self.begin[cut][resolution]
        arena = np.where(state < 0, IMPOSSIBLE, 0)
        macs, counted = np.zeros(len(codes)), np.zeros(len(codes))
        if (state < 0).all():
            return Costs(arena, macs, counted)
        state = np.maximum(state, 0)
        for number in range(cut, -1, -1):
            step = self.steps[number]
            local = codes[:, step.genes].astype(np.int64) @ step.strides
            if number:
                local = np.where(off[:, number - 1], step.columns - 1, local)
            place = state * step.columns + local
            np.maximum(arena, step.arena[place], out=arena)
            macs += step.macs[place]
            counted += step.counted[place]
            state = step.next[place]
        return Costs(arena, macs, counted)


class _Maker(NamedTuple):
    """What the tables of a space are made with."""

    space: SearchSpace
    in_chans: int
    in_place: bool
    vectors: bool
    count: Count


def walks(
    space: SearchSpace, cuts: int, *, in_chans: int, in_place: bool, vectors: bool, count: Count | None = None
) -> list[Walk]:
    """The tables of every grid, for cuts after the stem and after each of the first ``cuts - 1`` blocks.

    ``count`` is what else is counted, such as instructions.
    """
    maker = _Maker(space, in_chans, in_place, vectors, count or (lambda *_: 0))
    return [_walk(maker, grid, cuts) for grid in GRIDS]


def _walk(maker: _Maker, grid: int, cuts: int) -> Walk:
    space = maker.space
    sides, columns, family = sides_read(space), space.part_columns, operators_of_family(space)
    resolutions = np.arange(len(space.resolutions))
    before: list[np.ndarray] = []  # windows that earlier, that is later blocks need
    begin: list[np.ndarray] = [np.full(len(resolutions), -1)] * cuts
    steps: dict[int, _Step] = {}
    for number in range(cuts - 1, -1, -1):
        # The windows of a cut here, and those that the blocks behind need.
        large = resolutions[sides[:, number] >= grid]
        cut = np.column_stack([large, np.full_like(large, _UNKNOWN), *tiles(sides[large, number], grid)])
        rows, place = np.unique(np.concatenate([cut, *before]), axis=0, return_inverse=True)
        if not len(rows):
            continue
        place = place.reshape(-1)
        begin[number] = np.full(len(resolutions), -1)
        begin[number][large] = place[: len(large)]
        if number + 1 in steps:
            steps[number + 1] = steps[number + 1]._replace(next=place[len(large) :])
        if number:
            make = partial(family.block, space, space.blocks[number - 1])
            step, before = _step(maker, rows, make, columns.blocks[number - 1], sides[:, number - 1])
        else:
            make = partial(family.stem, space, in_chans=maker.in_chans)
            step, _ = _step(maker, rows, make, columns.stem, np.array(space.resolutions), first=True)
        steps[number] = step
    return Walk(grid, begin, steps)


def _step(
    maker: _Maker,
    rows: np.ndarray,
    make: Callable[..., Operators],
    columns: Any,
    sides: np.ndarray,
    *,
    first: bool = False,
) -> tuple[_Step, list[np.ndarray]]:
    """The table of a part whose output has the windows ``rows``, and the windows of its inputs, in its order."""
    grid = (rows.shape[1] - 2) // 2
    resolution, known = rows[:, 0], rows[:, 1]
    given = Windows(rows[:, 2 : 2 + grid], rows[:, 2 + grid :])
    side, genes = sides[resolution], distinct(columns)
    found: dict[str, list[np.ndarray]] = {"rows": [], "arena": [], "macs": [], "counted": []}
    for _, (choices,) in every_choice(maker.space, columns):
        part = make(**choices)
        shapes = part.shapes(side)
        tensor_sides = [shape.side for shape in shapes]
        windows = windows_of(part, tensor_sides, given) if can_be_patched(part, first=first) else None
        if windows is None:
            found["rows"].append(rows)
            found["arena"].append(np.full(len(rows), IMPOSSIBLE))
            found["macs"].append(np.zeros(len(rows)))
            found["counted"].append(np.zeros(len(rows)))
            continue
        cut = known == _UNKNOWN
        map_bytes = np.where(cut, round_up(shapes[-1].size, ALIGNMENT), known)
        live = window_moments(part, windows, in_place=maker.in_place, vectors=maker.vectors, first=first)
        found["arena"].append(largest_moment(live, besides=map_bytes))
        found["macs"].append(_macs(part, windows))
        found["counted"].append(np.zeros(len(rows)) + maker.count(part, tensor_sides, windows, cut, first))
        found["rows"].append(np.column_stack([resolution, map_bytes, *windows[0]]))

    # One column more, for a part that does not run; no cut is behind it.
    found["rows"].append(rows)
    found["arena"].append(np.where(known == _UNKNOWN, IMPOSSIBLE, 0))
    found["macs"].append(np.zeros(len(rows)))
    found["counted"].append(np.zeros(len(rows)))
    flat = {name: np.stack(values, 1) for name, values in found.items()}
    inputs = flat.pop("rows").reshape(-1, rows.shape[1])
    options = maker.space.num_options[list(genes)]
    strides = np.array([np.prod(options[axis + 1 :], dtype=np.int64) for axis in range(len(genes))], np.int64)
    values = {name: value.reshape(-1) for name, value in flat.items()}
    return _Step(len(found["rows"]), genes, strides, np.zeros(len(inputs), np.int64), **values), [inputs]


def _macs(part: Operators, windows: Sequence[Windows]) -> np.ndarray:
    """Multiply-accumulates of all patches together."""
    total = np.zeros(len(windows[-1].start))
    for number, operator in enumerate(part, 1):
        if operator.kind in ("conv", "depthwise"):
            each = part.read_channels(operator) // operator.groups * operator.kernel**2 * operator.channels
            total += each * windows[number].size.sum(-1) ** 2
    return total
