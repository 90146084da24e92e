"""The operators of norms over channels, which stay in float32 in int8 networks.

XNNPACK has int8 code for none of means over channels, squares and roots, and a variance needs more than
256 values. On an x86 CPU, an int8 ConvNeXt with int8 norms takes seven times as long as one with float32
norms, and its logits are a little further from the float32 network's.
"""

from __future__ import annotations

from typing import Any

from ofa.export.tflite.flatbuffer import schema, text

_CODES = schema.BuiltinOperator
_STATISTICS = tuple(getattr(_CODES, name) for name in ("MEAN", "SUM", "SQUARED_DIFFERENCE", "RSQRT", "SQRT", "DIV"))
_ELEMENTWISE = (_CODES.ADD, _CODES.SUB, _CODES.MUL)


def float_operators(model: Any) -> list[str]:
    """The names of the outputs of a float32 ``ModelT``'s operators that belong to norms over channels.

    Statistics; what is computed of them elementwise, until an operator of another kind or a sum of two
    maps; and squares that nothing but statistics read.
    """
    graph = model.subgraphs[0]
    kinds = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
    stored = {index for index, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None}
    readers: dict[int, list[int]] = {}
    for kind, operator in zip(kinds, graph.operators, strict=True):
        for index in operator.inputs:
            readers.setdefault(int(index), []).append(kind)

    statistics: set[int] = set()
    found: set[int] = set()
    for kind, operator in zip(kinds, graph.operators, strict=True):
        (output,) = operator.outputs
        inputs = [int(index) for index in operator.inputs]
        squares = kind == _CODES.MUL and len(set(inputs)) == 1 and set(readers.get(output, [])) <= set(_STATISTICS)
        if kind in _STATISTICS or squares:
            statistics.add(output)
            found.add(output)
        elif kind in _ELEMENTWISE:
            with_statistic = any(index in statistics for index in inputs)
            with_constant = any(index in found for index in inputs) and any(index in stored for index in inputs)
            if with_statistic or with_constant:
                found.add(output)
    return [text(graph.tensors[index].name) for index in sorted(found)]
