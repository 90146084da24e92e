"""Ranges of what a sum reads and writes: XNNPACK refuses a whole file when their scales are too far apart.

It does so for an operand below 2^-10 or above 2^8 of the sum. A branch of a network that does nothing, as
layer scales make it at first, or the border of a kernel on a map that is smaller, has such a range.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ofa.export.tflite.flatbuffer import schema, text

_SUMS = (schema.BuiltinOperator.ADD, schema.BuiltinOperator.SUB)
_FARTHEST = 128  # the widest range of a sum is at most so many times the narrowest; two units of 256 get lost


def with_near_ranges(model: Any, bounds: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Bounds of a float32 ``ModelT``'s tensors, of which those of a sum that are too narrow are widened."""
    graph = model.subgraphs[0]
    result = dict(bounds)
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode not in _SUMS:
            continue
        names = [text(graph.tensors[index].name) for index in (*operator.inputs, *operator.outputs)]
        spans = {name: result[name][1] - result[name][0] for name in names if name in result}
        least = max(spans.values()) / _FARTHEST
        for name, span in spans.items():
            if span < least:
                low, high = (bound * least / span for bound in result[name])
                result[name] = (low, high)
    return result
