"""Channels of a convolution or a classifier that are almost only a bias, which int8 would lose.

A bias is an int32 multiple of the input's scale times the weights' scale. Where training has shrunk a channel's
weights to nearly nothing, as it often does in depthwise convolutions, that scale is so small that the bias does
not fit and is cut. So it is with a classifier of features that are nearly 0. One weight of the channel then gets
the least size with which the bias fits: a millionth of the bias or so, a hundredth of a unit of the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ofa.export.tflite.flatbuffer import pack, schema, text, unpack

# The least weight is the bias times this over the input's scale. It makes the bias a quarter of what fits,
# so that a correction and the sum fit, too.
LEAST = 127 / 2**29
_CHANNEL_AXES = {
    schema.BuiltinOperator.CONV_2D: 0,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
    schema.BuiltinOperator.FULLY_CONNECTED: 0,
}


def with_room_for_biases(content: bytes, bounds: Mapping[str, tuple[float, float]]) -> bytes:
    """A float32 TFLite file in which all biases fit, given the ``bounds`` of its tensors."""
    model = unpack(content)
    graph, changed = model.subgraphs[0], False
    for operator in graph.operators:
        axis = _CHANNEL_AXES.get(model.operatorCodes[operator.opcodeIndex].builtinCode)
        if axis is None or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        features, weight, bias = (graph.tensors[index] for index in operator.inputs[:3])
        low, high = np.float32(bounds[text(features.name)])
        values = np.moveaxis(_floats(model, weight), axis, 0).copy()
        flat = values.reshape(len(values), -1)
        least = np.abs(_floats(model, bias)) * (np.float32(LEAST) / ((high - low) / np.float32(255)))
        short = np.abs(flat).max(1) < least
        if short.any():
            flat[short, 0] = least[short]
            data = np.ascontiguousarray(np.moveaxis(values, 0, axis)).astype("<f4").tobytes()
            model.buffers[weight.buffer].data = np.frombuffer(data, np.uint8)
            changed = True
    return pack(model) if changed else content


def _floats(model: Any, tensor: Any) -> np.ndarray:
    return np.frombuffer(np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes(), "<f4").reshape(tensor.shape)
