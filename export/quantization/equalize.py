"""Cross-layer equalization: the channels of a tensor get similar ranges, because in int8 they all have one scale.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(https://arxiv.org/abs/1906.04721), section 4.1, with the ranges of activations on images instead of those
of weights, because weights have a scale per channel anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ofa.export.quantization.activations import Activations
from ofa.export.tflite.flatbuffer import pack, schema, text

_CODES = schema.BuiltinOperator
_ACTS = schema.ActivationFunctionType
_WITH_WEIGHTS = (_CODES.CONV_2D, _CODES.DEPTHWISE_CONV_2D, _CODES.FULLY_CONNECTED)
# Operators of s x give s times what they give of x, for s > 0.
_LINEAR = (_CODES.ADD, _CODES.AVERAGE_POOL_2D, _CODES.MAX_POOL_2D, _CODES.PAD, _CODES.RESHAPE, _CODES.RELU)
_HOMOGENEOUS = (_ACTS.NONE, _ACTS.RELU)  # act(s x) = s act(x) for s > 0; ReLU6 is not


def equalize_channels(content: bytes, images: np.ndarray) -> bytes:
    """A float32 TFLite file that computes the same function, with more similar ranges of a tensor's channels.

    Each channel is divided by a power of two in the layer that computes it, and multiplied by it in the
    layers that read it. Results stay equal bit for bit. Channels that are added (residuals) get the same
    factor. Outputs of ReLU6 and hard-swish keep their scale. ``images`` ``(n, channels, height, width)``
    are normalised.
    """
    run = Activations(content)
    model = run.model
    magnitudes = _max_magnitudes(run, images)
    graph = model.subgraphs[0]
    for group in _groups(model):
        range_ = np.max([magnitudes[text(graph.tensors[index].name)] for index in group], axis=0)
        weight = _max_weights(model, group)
        if weight is None:
            continue

        # The factor that balances the range of the activation against the weights that read it. Only powers
        # of two scale without rounding, and only the factors' ratios matter, so their median is 1.
        with np.errstate(divide="ignore"):
            exponent = np.rint(0.5 * np.log2(range_ / weight))
        usable = np.isfinite(exponent)
        scale = np.exp2(np.where(usable, exponent - np.median(exponent[usable]).round() if usable.any() else 0, 0))
        _rescale(model, group, scale.astype(np.float32))
    return pack(model)


def _max_magnitudes(run: Activations, images: np.ndarray) -> dict[str, np.ndarray]:
    """Per tensor, the largest magnitude of each channel over all images."""
    magnitudes: dict[str, np.ndarray] = {}
    for index in range(len(images)):
        for name, array in run(images[index : index + 1]).items():
            magnitude = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
            magnitudes[name] = np.maximum(magnitudes.get(name, 0), magnitude)
    return magnitudes


def _kind(model: Any, operator: Any) -> int:
    return model.operatorCodes[operator.opcodeIndex].builtinCode


def _groups(model: Any) -> list[set[int]]:
    """Sets of computed tensors whose channels need a common scale, where all tensors of the set can be scaled."""
    graph = model.subgraphs[0]
    constants = {index for index, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None}
    groups: dict[int, set[int]] = {}
    fixed = {*graph.inputs, *graph.outputs}
    for operator in graph.operators:
        kind, output = _kind(model, operator), operator.outputs[0]
        act = getattr(operator.builtinOptions, "fusedActivationFunction", _ACTS.NONE)
        inputs = [index for index in operator.inputs if index not in constants]
        groups.setdefault(output, {output})

        # These cannot be scaled: results of other functions, and inputs of which one channel makes several.
        if act not in _HOMOGENEOUS or kind not in (*_WITH_WEIGHTS, *_LINEAR):
            fixed.add(output)
        if kind == _CODES.DEPTHWISE_CONV_2D and operator.builtinOptions.depthMultiplier != 1:
            fixed.update(inputs)
        channels = [graph.tensors[index].shape[-1] for index in (*operator.inputs[:2], output)]
        if kind == _CODES.CONV_2D and channels[0] != channels[1]:
            fixed.update(inputs)  # of a grouped convolution, each weight reads the channels of one group

        # Weights can undo a scale. Other linear operators pass it on, so that inputs and output need the
        # same one.
        if kind in _WITH_WEIGHTS:
            continue
        shifts = kind == _CODES.ADD and len(inputs) < 2
        moves_channels = kind == _CODES.RESHAPE and channels[0] != channels[-1]
        if kind not in _LINEAR or shifts or moves_channels:
            fixed.update((*inputs, output))
            continue
        joined = groups[output].union(*(groups.setdefault(index, {index}) for index in inputs))
        groups.update(dict.fromkeys(joined, joined))

    distinct = {id(group): group for group in groups.values()}.values()
    return [group for group in distinct if not group & {int(index) for index in fixed}]


def _readers(model: Any, group: set[int]) -> list[tuple[int, Any]]:
    """(kind, weight tensor) of the layers that read the group."""
    graph = model.subgraphs[0]
    return [
        (_kind(model, operator), graph.tensors[operator.inputs[1]])
        for operator in graph.operators
        if _kind(model, operator) in _WITH_WEIGHTS and operator.inputs[0] in group
    ]


def _max_weights(model: Any, group: set[int]) -> np.ndarray | None:
    """Per channel, the largest of the weights that read it, relative to the largest of the same output channel.

    None when no layer reads the group, or depthwise convolutions alone, whose weights have a scale for each
    channel.
    """
    relative_weights = []
    for kind, tensor in _readers(model, group):
        if kind != _CODES.DEPTHWISE_CONV_2D:
            weight = np.abs(_floats(model, tensor))
            largest = weight.max(axis=tuple(range(1, weight.ndim)), keepdims=True)
            relative_weights.append((weight / np.maximum(largest, 1e-30)).max(axis=tuple(range(weight.ndim - 1))))
    return np.max(relative_weights, axis=0) if relative_weights else None


def _rescale(model: Any, group: set[int], scale: np.ndarray) -> None:
    """Divides by ``scale`` the weights that compute the group's channels, and multiplies those that read them."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        kind = _kind(model, operator)
        if kind in _WITH_WEIGHTS and operator.outputs[0] in group:
            weight, bias = (graph.tensors[index] for index in operator.inputs[1:3])
            channels_last = kind == _CODES.DEPTHWISE_CONV_2D
            shape = (1, 1, 1, -1) if channels_last else (-1, *[1] * (len(weight.shape) - 1))
            _store(model, weight, _floats(model, weight) / scale.reshape(shape))
            _store(model, bias, _floats(model, bias) / scale)
    for _, tensor in _readers(model, group):
        _store(model, tensor, _floats(model, tensor) * scale)


def _floats(model: Any, tensor: Any) -> np.ndarray:
    return np.frombuffer(np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes(), "<f4").reshape(tensor.shape)


def _store(model: Any, tensor: Any, array: np.ndarray) -> None:
    model.buffers[tensor.buffer].data = np.frombuffer(array.astype("<f4").tobytes(), np.uint8)
