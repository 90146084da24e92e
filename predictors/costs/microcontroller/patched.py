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
        begin: by cut, the number of the windows of the map there at each resolution and choice of the genes
            ``places``, flat; -1 where the map is too small.
        places: the column of the resolution, then those of strides, on which the side of a map depends.
        steps: of the stem (0) and of each block before a cut.
    """

    grid: int
    begin: list[np.ndarray]
    places: tuple[int, ...]
    options: tuple[int, ...]
    steps: dict[int, _Step]

    def costs(self, codes: np.ndarray, cut: int, off: np.ndarray) -> Costs:
        """Of what runs in patches before ``cut``; ``off`` ``(n, blocks)`` says which blocks do not run."""
        chosen = tuple(codes[:, column].astype(np.intp) for column in self.places)
        state = self.begin[cut][np.ravel_multi_index(chosen, self.options)]
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
    columns, family = space.part_columns, operators_of_family(space)
    places = (*space.genes_of("resolution").tolist(), *space.genes_of("stride").tolist())
    options = tuple(space.num_options[list(places)].tolist())
    before: list[np.ndarray] = []  # windows that later blocks need of their input
    begin: list[np.ndarray] = [np.full(np.prod(options), -1)] * cuts
    steps: dict[int, _Step] = {}
    for number in range(cuts - 1, -1, -1):
        # The windows of a cut here, and those that the blocks behind need.
        resolution, side = _sides_at(space, number, places)
        large = side >= grid
        cut = np.column_stack([resolution, np.full_like(side, _UNKNOWN), side, *tiles(side, grid)])[large]
        rows, place = np.unique(np.concatenate([cut, *before]), axis=0, return_inverse=True)
        if not len(rows):
            continue
        place = place.reshape(-1)
        begin[number] = np.full(len(side), -1)
        begin[number][large] = place[: len(cut)]
        if number + 1 in steps:
            steps[number + 1] = steps[number + 1]._replace(next=place[len(cut) :])
        if number:
            make = partial(family.block, space, space.blocks[number - 1])
            step, before = _step(maker, rows, make, columns.blocks[number - 1], sides_read(space, number - 1))
        else:
            make = partial(family.stem, space, in_chans=maker.in_chans)
            step, _ = _step(maker, rows, make, columns.stem, lambda _: np.array(space.resolutions), first=True)
        steps[number] = step
    return Walk(grid, begin, places, options, steps)


def _sides_at(space: SearchSpace, part: int, places: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The resolution's option and the side of the map that a part reads, for each choice of the genes ``places``."""
    strides = [space.genes[column] for column in places[1:]]
    found = []
    for index in np.ndindex(*space.num_options[list(places)]):
        values = {gene.key: gene.options[option] for gene, option in zip(strides, index[1:], strict=True)}
        found.append((index[0], sides_read(space, part)(values)[index[0]]))
    resolution, side = np.array(found, np.int64).T
    return resolution, side


def _step(
    maker: _Maker,
    rows: np.ndarray,
    make: Callable[..., Operators],
    columns: Any,
    sides: Callable[[Any], np.ndarray],
    *,
    first: bool = False,
) -> tuple[_Step, list[np.ndarray]]:
    """The table of a part whose output has the windows ``rows``, and the windows of its inputs, in its order.

    A row has the resolution, the bytes of the map at the cut, the side of the output's map, and the windows.
    """
    resolution, known, genes = rows[:, 0], rows[:, 1], distinct(columns)
    found: dict[str, list[np.ndarray]] = {"rows": [], "arena": [], "macs": [], "counted": []}
    for _, (choices,) in every_choice(maker.space, columns):
        part, values = make(**choices), _nothing(rows, np.full(len(rows), IMPOSSIBLE))
        side = sides(choices)[resolution]
        fits = part.shapes(side)[-1].side == rows[:, 2]  # else the strides chosen before are others
        if fits.any() and can_be_patched(part, first=first):
            measured = _on_windows(maker, part, side[fits], rows[fits], first=first)
            if measured is not None:
                for name, value in measured.items():
                    values[name][fits] = value
        for name, value in values.items():
            found[name].append(value)

    # One column more, for a part that does not run; no cut is behind it.
    for name, value in _nothing(rows, np.where(known == _UNKNOWN, IMPOSSIBLE, 0)).items():
        found[name].append(value)
    flat = {name: np.stack(values, 1) for name, values in found.items()}
    inputs = flat.pop("rows").reshape(-1, rows.shape[1])
    options = maker.space.num_options[list(genes)]
    strides = np.array([np.prod(options[axis + 1 :], dtype=np.int64) for axis in range(len(genes))], np.int64)
    values = {name: value.reshape(-1) for name, value in flat.items()}
    return _Step(len(found["rows"]), genes, strides, np.zeros(len(inputs), np.int64), **values), [inputs]


def _nothing(rows: np.ndarray, arena: np.ndarray) -> dict[str, np.ndarray]:
    """What a part costs that does not run."""
    return {"rows": rows.copy(), "arena": arena, "macs": np.zeros(len(rows)), "counted": np.zeros(len(rows))}


def _on_windows(
    maker: _Maker, part: Operators, side: np.ndarray, rows: np.ndarray, *, first: bool
) -> dict[str, np.ndarray] | None:
    """What a part costs whose output has the windows ``rows``, and the rows of its input; None without windows."""
    grid, known = (rows.shape[1] - 3) // 2, rows[:, 1]
    shapes = part.shapes(side)
    tensor_sides = [shape.side for shape in shapes]
    windows = windows_of(part, tensor_sides, Windows(rows[:, 3 : 3 + grid], rows[:, 3 + grid :]))
    if windows is None:
        return None
    cut = known == _UNKNOWN
    map_bytes = np.where(cut, round_up(shapes[-1].size, ALIGNMENT), known)
    live = window_moments(part, windows, in_place=maker.in_place, vectors=maker.vectors, first=first)
    return {
        "arena": largest_moment(live, besides=map_bytes),
        "macs": _macs(part, windows),
        "counted": np.zeros(len(rows)) + maker.count(part, tensor_sides, windows, cut, first),
        "rows": np.column_stack([rows[:, 0], map_bytes, side, *windows[0]]),
    }


def _macs(part: Operators, windows: Sequence[Windows]) -> np.ndarray:
    """Multiply-accumulates of all patches together."""
    total = np.zeros(len(windows[-1].start))
    for number, operator in enumerate(part, 1):
        if operator.kind in ("conv", "depthwise"):
            each = part.read_channels(operator) // operator.groups * operator.kernel**2 * operator.channels
            total += each * windows[number].size.sum(-1) ** 2
    return total
