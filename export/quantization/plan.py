"""Where each activation lies in memory, planned ahead: TensorFlow Lite Micro's own planner leaves gaps.

It places tensors by size, wherever there is room first; the inputs of consecutive residual blocks then lie on top of
each other, up to a tenth more than what lives at once. A plan stored in the file (its ``OfflineMemoryAllocation``) is
what the interpreter follows instead; other runtimes ignore it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ofa.export.lifetimes import Lifetime, plan
from ofa.supernet.integers import round_up

ALIGNMENT = 16  # TensorFlow Lite Micro's, of every tensor
PLAN = "OfflineMemoryAllocation"
_WIDTHS = {0: 4, 2: 4, 9: 1}  # bytes of float32, int32 and int8, as the schema numbers them


def live_tensors(graph: Any) -> dict[int, Lifetime]:
    """The tensors of a TFLite graph that are computed, by index; sizes rounded up to the alignment."""
    first, last = dict.fromkeys(graph.inputs, 0), dict.fromkeys(graph.inputs, 0)
    for number, operator in enumerate(graph.operators, start=1):
        for index in operator.outputs:
            first[index] = last[index] = number
        last.update({index: number for index in operator.inputs if index in first})
    last.update(dict.fromkeys(graph.outputs, len(graph.operators)))
    sizes = {index: round_up(_bytes(graph.tensors[index]), ALIGNMENT) for index in first}
    return {index: Lifetime(sizes[index], first[index], last[index]) for index in first}


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


def _bytes(tensor: Any) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * _WIDTHS[tensor.type]
