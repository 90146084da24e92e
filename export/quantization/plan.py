"""Where each activation lies in memory, planned ahead: TensorFlow Lite Micro's own planner leaves gaps.

It places tensors by size, wherever there is room first; the inputs of consecutive residual blocks then lie on top of
each other, up to a tenth more than what lives at once. A plan stored in the file (its ``OfflineMemoryAllocation``) is
what the interpreter follows instead; other runtimes ignore it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

ALIGNMENT = 16  # TensorFlow Lite Micro's, of every tensor
PLAN = "OfflineMemoryAllocation"
_WIDTHS = {0: 4, 2: 4, 9: 1}  # bytes of float32, int32 and int8, as the schema numbers them
_BUDGET = 20_000  # placements tried; a few more than there are tensors are enough


class Live(NamedTuple):
    """A tensor of ``size`` bytes that operators ``first`` to ``last`` need (0: the network's input)."""

    size: int
    first: int
    last: int


def live_tensors(graph: Any) -> dict[int, Live]:
    """The tensors of a TFLite graph that are computed, by index; sizes rounded up to the alignment."""
    first, last = dict.fromkeys(graph.inputs, 0), dict.fromkeys(graph.inputs, 0)
    for number, operator in enumerate(graph.operators, start=1):
        for index in operator.outputs:
            first[index] = last[index] = number
        last.update({index: number for index in operator.inputs if index in first})
    last.update(dict.fromkeys(graph.outputs, len(graph.operators)))
    sizes = {index: -(-_bytes(graph.tensors[index]) // ALIGNMENT) * ALIGNMENT for index in first}
    return {index: Live(sizes[index], first[index], last[index]) for index in first}


def peak(tensors: Sequence[Live]) -> int:
    """Bytes that live at once at the operator that needs the most: what no plan can be below."""
    end = max(tensor.last for tensor in tensors)
    change = np.zeros(end + 2, np.int64)
    for tensor in tensors:
        change[tensor.first] += tensor.size
        change[tensor.last + 1] -= tensor.size
    return int(change.cumsum().max())


def plan(tensors: Sequence[Live]) -> list[int] | None:
    """An offset of each tensor, such that all end below ``peak``; None when the search finds none.

    Depth first in the order of time, each tensor at an end of the memory or beside one that lives with it.
    """
    limit = peak(tensors)
    order = sorted(range(len(tensors)), key=lambda index: (tensors[index].first, -tensors[index].last))
    offsets: dict[int, int] = {}
    waiting = [iter(_places(tensors, offsets, order[0], limit))]
    for _ in range(_BUDGET):
        index = order[len(waiting) - 1]
        place = next(waiting[-1], None)
        if place is None:
            waiting.pop()
            if not waiting:
                return None
            del offsets[order[len(waiting) - 1]]
            continue
        offsets[index] = place
        if len(waiting) == len(order):
            return [offsets[index] for index in range(len(tensors))]
        waiting.append(iter(_places(tensors, offsets, order[len(waiting)], limit)))
    return None


def store_plan(model: Any, schema: Any) -> None:
    """Adds a plan to the ``ModelT`` of an int8 network, in place; without one the runtime makes its own."""
    graph = model.subgraphs[0]
    live = live_tensors(graph)
    offsets = plan(list(live.values()))
    if offsets is None:
        return
    where = np.full(len(graph.tensors), -1, np.int32)
    where[list(live)] = offsets
    entry, buffer = schema.MetadataT(), schema.BufferT()
    version, subgraph = 1, 0
    buffer.data = np.frombuffer(np.array([version, subgraph, len(where), *where], "<i4").tobytes(), np.uint8)
    entry.name, entry.buffer = PLAN, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]


def _places(tensors: Sequence[Live], offsets: dict[int, int], index: int, limit: int) -> list[int]:
    """Where the tensor fits beside those placed that live with it: both ends of each gap, the outermost first."""
    size, first, last = tensors[index]
    busy = sorted(
        (offset, offset + tensors[other].size)
        for other, offset in offsets.items()
        if tensors[other].first <= last and first <= tensors[other].last
    )
    places, free = set(), 0
    for start, stop in [*busy, (limit, limit)]:
        if start - free >= size:
            places |= {free, start - size}
        free = max(free, stop)
    return sorted(places, key=lambda place: (min(place, limit - place - size), place))


def _bytes(tensor: Any) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * _WIDTHS[tensor.type]
