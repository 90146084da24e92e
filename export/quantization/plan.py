"""A memory plan for activations, stored in the file, because TensorFlow Lite Micro's own planner leaves gaps.

That planner places tensors by size, each in the first gap that is large enough. With consecutive residual
blocks it needs up to a tenth more than what lives at once. The interpreter follows a plan that the file
holds (``OfflineMemoryAllocation``); other runtimes ignore it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ofa.export.lifetimes import Lifetime, plan
from ofa.supernet.integers import round_up

ALIGNMENT = 16  # TensorFlow Lite Micro's, of every tensor
PLAN = "OfflineMemoryAllocation"
_ITEM_BYTES = {0: 4, 2: 4, 9: 1}  # of float32, int32 and int8, by their numbers in the schema


def live_tensors(graph: Any) -> dict[int, Lifetime]:
    """The lifetimes of the computed tensors of a TFLite graph, by index; sizes are rounded up to the alignment."""
    first, last = dict.fromkeys(graph.inputs, 0), dict.fromkeys(graph.inputs, 0)
    for step, operator in enumerate(graph.operators, start=1):
        for index in operator.outputs:
            first[index] = last[index] = step
        last.update({index: step for index in operator.inputs if index in first})
    last.update(dict.fromkeys(graph.outputs, len(graph.operators)))

    sizes = {}
    for index in first:
        tensor = graph.tensors[index]
        count = int(np.prod(tensor.shape, dtype=np.int64))
        sizes[index] = round_up(count * _ITEM_BYTES[tensor.type], ALIGNMENT)
    return {index: Lifetime(sizes[index], first[index], last[index]) for index in first}


def store_plan(model: Any, schema: Any) -> None:
    """Adds a plan to the ``ModelT`` of an int8 network, in place.

    Adds nothing when no plan of the smallest size is found; the runtime then makes its own.
    """
    graph = model.subgraphs[0]
    live = live_tensors(graph)
    offsets = plan(list(live.values()))
    if offsets is None:
        return

    # -1: not planned, as of constants.
    offset_of_tensor = np.full(len(graph.tensors), -1, np.int32)
    offset_of_tensor[list(live)] = offsets
    version, subgraph = 1, 0
    words = np.array([version, subgraph, len(offset_of_tensor), *offset_of_tensor], "<i4")

    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = np.frombuffer(words.tobytes(), np.uint8)
    entry.name, entry.buffer = PLAN, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
