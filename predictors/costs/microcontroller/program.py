"""RAM and flash of the program that ``export_c`` writes, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ofa.export.microcontroller.scratch import ALIGNMENT, operator_scratch
from ofa.predictors.costs.counts import fold_blocks, fold_table, sides_read, weight_bytes
from ofa.predictors.costs.part_genes import parts_of
from ofa.predictors.costs.table import Table
from ofa.supernet.families.operators import operators_of_family
from ofa.supernet.integers import round_up
from ofa.supernet.operators import Operators, Side, largest, lifetimes, moments
from ofa.supernet.space import SearchSpace

# Of CMSIS-NN's deepest kernel, start-up code and bakenn's wrappers, and the few variables of the program itself.
STACK = {"cortex_m4": 800, "cortex_m55": 960}

# CMSIS-NN's kernels and the program's own code, and the calls of each block: bounds of what programs measured.
_CODE = {"cortex_m4": 17350, "cortex_m55": 15800}
_BLOCK_CODE = {"cortex_m4": 390, "cortex_m55": 420}
_ARENA_ALIGNMENT = 16


def ram(space: SearchSpace, *, num_classes: int, in_chans: int = 3, cpu: str = "cortex_m4") -> Table:
    """Bytes of RAM that one inference needs on ``cpu`` (``cortex_m4`` or ``cortex_m55``).

    Operators run one after the other. While one runs, its input, its output and CMSIS-NN's scratch memory for it are
    there, and a residual's input until its addition. The image and the logits have buffers of their own. The arena's
    planner can need a little more than the largest moment; it seldom does.

    Raises ``ValueError`` for another ``cpu``.
    """
    _check(cpu)
    vectors = cpu == "cortex_m55"
    family, resolutions = operators_of_family(space), np.array(space.resolutions)
    stem, head = family.stem(space, in_chans=in_chans), family.head(space, num_classes=num_classes)
    ends = [
        arena(stem, resolutions, vectors=vectors, outside=[0]),
        arena(head, sides_read(space)[:, -1], vectors=vectors, outside=[len(head)]),
    ]
    blocks = fold_blocks(space, lambda part, sides: arena(part, sides, vectors=vectors))
    # Image and logits come on top of the largest moment; as fixed cost of a maximum they are part of every moment.
    always = round_up(in_chans * resolutions**2, ALIGNMENT) + round_up(num_classes, ALIGNMENT) + STACK[cpu]
    parts = parts_of(space, largest(ends) + always, [costs + always[:, None, None] for costs in blocks])
    return Table(space, "ram", "bytes", parts, info={"cpu": cpu}, combine="max")


def arena(part: Operators, side: Side, *, vectors: bool, outside: Sequence[int] = ()) -> Side:
    """Bytes of the program's arena at the operator of ``part`` that needs the most, its scratch memory counted.

    The tensors ``outside`` have buffers of their own. ``vectors`` is for Cortex-M55.
    """
    sizes = [round_up(shape.size, ALIGNMENT) for shape in part.shapes(side)]
    for tensor in outside:
        sizes[tensor] = 0
    scratch = [operator_scratch(operator, part.read_channels(operator), vectors=vectors) for operator in part]
    live = moments(lifetimes(part), sizes)
    return largest([round_up(a + round_up(b, ALIGNMENT), _ARENA_ALIGNMENT) for a, b in zip(live, scratch, strict=True)])


def flash(space: SearchSpace, *, num_classes: int, in_chans: int = 3, cpu: str = "cortex_m4") -> Table:
    """Bytes of flash that the program takes on ``cpu``: weights, their scales, code and what ``main.c`` needs.

    A byte a weight, and 12 a channel: an int32 bias, a multiplier and a shift. The code hangs on the compiler: the
    table bounds that of gcc 12, from above by at most about 2 KB. Raises ``ValueError`` for another ``cpu``.
    """
    _check(cpu)
    head = {"num_classes": num_classes, "in_chans": in_chans}
    table = fold_table(space, "flash", "bytes", weight_bytes(1, 12), **head, info={"cpu": cpu})
    code = [_CODE[cpu], *[_BLOCK_CODE[cpu]] * (len(table.parts) - 1)]
    return replace(
        table, parts=tuple(replace(part, costs=part.costs + size) for part, size in zip(table.parts, code, strict=True))
    )


def _check(cpu: str) -> None:
    if cpu not in STACK:
        raise ValueError(f"cpu is {cpu!r}; it must be one of {', '.join(STACK)}")
