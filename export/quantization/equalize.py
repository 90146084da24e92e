"""Cross-layer equalization: channels of one tensor brought to like ranges before int8 gives them all one scale.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(https://arxiv.org/abs/1906.04721), section 4.1, with ranges of activations seen on images instead of those of weights,
because weights have a scale per channel anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ofa.export.quantization.activations import Activations
from ofa.export.tflite.flatbuffer import pack, schema, text

_CODES = schema.BuiltinOperator
_ACTS = schema.ActivationFunctionType
_WEIGHED = (_CODES.CONV_2D, _CODES.DEPTHWISE_CONV_2D, _CODES.FULLY_CONNECTED)
_PASSING = (_CODES.ADD, _CODES.AVERAGE_POOL_2D, _CODES.PAD, _CODES.RESHAPE, _CODES.RELU)
_HOMOGENEOUS = (_ACTS.NONE, _ACTS.RELU)  # act(s x) = s act(x) for s > 0; ReLU6 is not


def equalize(content: bytes, images: np.ndarray) -> bytes:
    """A float32 TFLite file that computes the same function, its channels of more even ranges.

    Each channel is scaled where it is made and scaled back where it is read, by a power of two: results stay equal bit
    for bit. Channels that a residual adds are scaled alike. What ReLU6 or hard-swish makes keeps its scale. ``images``
    ``(n, channels, height, width)`` are normalised.
    """
    run = Activations(content)
    model = run.model
    highest = _highest(run, images)
    graph = model.subgraphs[0]
    for group in _groups(model):
        extent = np.max([highest[text(graph.tensors[index].name)] for index in group], axis=0)
        share = _read_shares(model, group)
        if share is None:
            continue
        with np.errstate(divide="ignore"):
            # Between the activation's scale and those of the weights that read it; powers of two are exact.
            exponent = np.rint(0.5 * np.log2(extent / share))
        usable = np.isfinite(exponent)
        scale = np.exp2(np.where(usable, exponent - np.median(exponent[usable]).round() if usable.any() else 0, 0))
        _rescale(model, group, scale.astype(np.float32))
    return pack(model)


def _highest(run: Activations, images: np.ndarray) -> dict[str, np.ndarray]:
    """Per tensor, the largest magnitude of each channel."""
    highest: dict[str, np.ndarray] = {}
    for index in range(len(images)):
        for name, values in run(images[index : index + 1]).items():
            seen = np.abs(values).max(axis=tuple(range(values.ndim - 1)))
            highest[name] = np.maximum(highest.get(name, 0), seen)
    return highest


def _kind(model: Any, operator: Any) -> int:
    return model.operatorCodes[operator.opcodeIndex].builtinCode


def _groups(model: Any) -> list[set[int]]:
    """Sets of computed tensors whose channels can only be scaled together, of which all can be scaled."""
    graph = model.subgraphs[0]
    constants = {index for index, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None}
    groups: dict[int, set[int]] = {}
    fixed = {*graph.inputs, *graph.outputs}
    for operator in graph.operators:
        kind, made = _kind(model, operator), operator.outputs[0]
        act = getattr(operator.builtinOptions, "fusedActivationFunction", _ACTS.NONE)
        read = [index for index in operator.inputs if index not in constants]
        groups.setdefault(made, {made})
        if act not in _HOMOGENEOUS or kind not in (*_WEIGHED, *_PASSING):
            fixed.add(made)
        if kind == _CODES.DEPTHWISE_CONV_2D and operator.builtinOptions.depthMultiplier != 1:
            fixed.update(read)
        if kind in _WEIGHED:
            continue
        if kind not in _PASSING or len(read) < (2 if kind == _CODES.ADD else 1):
            fixed.update(read)
            continue
        joined = groups[made].union(*(groups.setdefault(index, {index}) for index in read))
        groups.update(dict.fromkeys(joined, joined))
    return [group for group in _distinct(groups.values()) if not group & {int(index) for index in fixed}]


def _distinct(groups: Iterable[set[int]]) -> list[set[int]]:
    return list({id(group): group for group in groups}.values())


def _readers(model: Any, group: set[int]) -> list[tuple[int, Any]]:
    """The layers with weights that read the group: (kind, weight tensor)."""
    graph = model.subgraphs[0]
    return [
        (_kind(model, operator), graph.tensors[operator.inputs[1]])
        for operator in graph.operators
        if _kind(model, operator) in _WEIGHED and operator.inputs[0] in group
    ]


def _read_shares(model: Any, group: set[int]) -> np.ndarray | None:
    """Per channel, its largest weight in the layers that read it, each output's weights scaled to at most one.

    None when none of them has one scale for several channels, or a group does not end in weights.
    """
    shares = []
    for kind, tensor in _readers(model, group):
        if kind != _CODES.DEPTHWISE_CONV_2D:
            weight = np.abs(_floats(model, tensor))
            most = weight.max(axis=tuple(range(1, weight.ndim)), keepdims=True)
            shares.append((weight / np.maximum(most, 1e-30)).max(axis=tuple(range(weight.ndim - 1))))
    return np.max(shares, axis=0) if shares else None


def _rescale(model: Any, group: set[int], scale: np.ndarray) -> None:
    """Divides the group's channels by ``scale`` where they are made, and multiplies the weights that read them."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        kind = _kind(model, operator)
        if kind in _WEIGHED and operator.outputs[0] in group:
            weight, bias = (graph.tensors[index] for index in operator.inputs[1:3])
            last = kind == _CODES.DEPTHWISE_CONV_2D
            shape = (1, 1, 1, -1) if last else (-1, *[1] * (len(weight.shape) - 1))
            _store(model, weight, _floats(model, weight) / scale.reshape(shape))
            _store(model, bias, _floats(model, bias) / scale)
    for _, tensor in _readers(model, group):
        _store(model, tensor, _floats(model, tensor) * scale)


def _floats(model: Any, tensor: Any) -> np.ndarray:
    return np.frombuffer(np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes(), "<f4").reshape(tensor.shape)


def _store(model: Any, tensor: Any, values: np.ndarray) -> None:
    model.buffers[tensor.buffer].data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
