"""RAM and flash of the program that ``export_c`` writes, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ofa.export.microcontroller.memory import arena_moments
from ofa.export.microcontroller.patches import largest_moment
from ofa.export.microcontroller.scratch import ALIGNMENT
from ofa.predictors.costs.counts import Fold, fold_blocks, fold_ends, fold_table, weight_bytes
from ofa.predictors.costs.part_genes import ends_alike, parts_of
from ofa.predictors.costs.table import Table
from ofa.supernet.integers import round_up
from ofa.supernet.operators import Operators, Side, largest
from ofa.supernet.space import SearchSpace

# Bytes of the deepest stack (CMSIS-NN's kernels, start-up code, bakenn's wrappers), and of the program's
# own variables.
STACK = {"cortex_m4": 816, "cortex_m55": 928}

# Upper bounds, from measured programs, of the code of CMSIS-NN's kernels and the program, and of the calls
# of a block.
_CODE = {"cortex_m4": 18150, "cortex_m55": 15800}
_PATCH_CODE = 1200  # of the loop over patches, and its table
_BLOCK_CODE = {"cortex_m4": 390, "cortex_m55": 420}


def ram(
    space: SearchSpace, *, num_classes: int, in_chans: int = 3, cpu: str = "cortex_m4", in_place: bool = True
) -> Table:
    """Bytes of RAM that one inference needs on ``cpu`` (``cortex_m4`` or ``cortex_m55``).

    Operators run one after the other. While one runs, its inputs, its output, CMSIS-NN's scratch memory for
    it and every tensor that a later operator reads are in memory; ``in_place``, some outputs are written over
    inputs (``microcontroller.memory``). The image and the logits have buffers of their own. The layout of
    the arena seldom needs more than the bytes that live at once, and then little more.

    Raises ``ValueError`` for another ``cpu``.
    """
    _check(cpu)
    head = {"num_classes": num_classes, "in_chans": in_chans}
    stem_fold, fold, head_fold = arena_folds(cpu=cpu, in_place=in_place)
    stem, last = fold_ends(space, stem_fold, head_fold, **head)

    # The network's cost is the maximum over its parts. What is always there is added to each part.
    beside = always(space, **head, cpu=cpu)
    costs = [largest(ends_alike(space, stem, last)), *fold_blocks(space, fold)]
    ends, *blocks = [part + beside.reshape(-1, *[1] * (part.ndim - 1)) for part in costs]
    parts = parts_of(space, ends, blocks)
    return Table(space, "ram", "bytes", parts, info={"cpu": cpu}, combine="max")


def always(space: SearchSpace, *, num_classes: int, in_chans: int, cpu: str) -> np.ndarray:
    """Bytes of image, logits and stack at each resolution."""
    image = round_up(in_chans * np.square(space.resolutions), ALIGNMENT)
    return image + round_up(num_classes, ALIGNMENT) + STACK[cpu]


def arena_folds(*, cpu: str, in_place: bool) -> tuple[Fold, Fold, Fold]:
    """``arena`` of the stem, whose input has a buffer of its own, of a block, and of the head, whose output has."""

    def stem(part: Operators, sides: np.ndarray) -> Side:
        return arena(part, sides, vectors=cpu == "cortex_m55", in_place=in_place, outside=[0])

    def block(part: Operators, sides: np.ndarray) -> Side:
        return arena(part, sides, vectors=cpu == "cortex_m55", in_place=in_place)

    def head(part: Operators, sides: np.ndarray) -> Side:
        return arena(part, sides, vectors=cpu == "cortex_m55", in_place=in_place, outside=[len(part)])

    return stem, block, head


def arena(part: Operators, side: Side, *, vectors: bool, in_place: bool = True, outside: Sequence[int] = ()) -> Side:
    """Bytes of the program's arena at the operator of ``part`` that needs the most, scratch memory included.

    Tensors in ``outside`` have buffers of their own. ``vectors`` is for Cortex-M55.
    """
    shapes = part.shapes(side)
    sizes, widths = [shape.size for shape in shapes], [shape.side for shape in shapes]
    live = arena_moments(part, sizes, widths, in_place=in_place, vectors=vectors, outside=outside)
    return largest_moment(live)


def flash(
    space: SearchSpace, *, num_classes: int, in_chans: int = 3, cpu: str = "cortex_m4", patches: bool = True
) -> Table:
    """Bytes of flash that the program needs on ``cpu``: weights, their scales, and code, that of ``main.c`` included.

    A weight has one byte, and a channel 12: an int32 bias, a multiplier and a shift. The code depends on
    the compiler: the table is above that of gcc 12 by at most about 2 KB. Raises ``ValueError`` for another
    ``cpu``.
    """
    _check(cpu)
    head = {"num_classes": num_classes, "in_chans": in_chans}
    table = fold_table(space, "flash", "bytes", weight_bytes(1, 12), **head, info={"cpu": cpu})
    code = [_CODE[cpu] + (_PATCH_CODE if patches else 0), *[_BLOCK_CODE[cpu]] * (len(table.parts) - 1)]
    return replace(
        table, parts=tuple(replace(part, costs=part.costs + size) for part, size in zip(table.parts, code, strict=True))
    )


def _check(cpu: str) -> None:
    if cpu not in STACK:
        raise ValueError(f"cpu is {cpu!r}; it must be one of {', '.join(STACK)}")
