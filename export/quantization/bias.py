"""Bias correction: the mean error that int8 puts on each channel, taken off its bias.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(https://arxiv.org/abs/1906.04721), section 4.2, with the mean inputs measured on calibration images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ofa.export.quantization.activations import Activations
from ofa.export.tflite.flatbuffer import pack, schema, text
from ofa.supernet.integers import ceil_div

_IMAGES = 64  # a mean over so many maps is sure enough; every layer runs all of them
_KINDS = {getattr(schema.BuiltinOperator, name): name for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")}


class _Layer(NamedTuple):
    kind: str
    options: Any
    given: str
    wanted: str
    weight: np.ndarray  # real values
    bias: np.ndarray  # real values
    bias_step: np.ndarray  # of an int8 network: what one unit of its bias is worth, per channel
    bias_buffer: Any


def correct(model: Any, source: bytes, images: np.ndarray) -> None:
    """Corrects the biases of the int8 ``ModelT`` ``model`` in place, so that channel means are those of ``source``.

    ``source`` is the float32 file that it was quantised from; ``images`` ``(n, channels, height, width)``, of which 64
    are used. Layers are corrected in order, each with the errors that are left of those before it. The means are those
    before the activation function. Runs the network once per layer and image.
    """
    images = images[:: ceil_div(len(images), _IMAGES)]
    exact = Activations(source)
    expected = {layer.wanted: layer for layer in _layers(exact.model)}
    layers = [layer for layer in _layers(model) if layer.wanted in expected]
    patches = _mean_patches(exact, [expected[layer.wanted] for layer in layers], images)
    for layer in layers:
        original = expected[layer.wanted]
        got = _mean_patches(Activations(pack(model)), [layer], images)[layer.wanted]
        error = _output(layer, got) - _output(original, patches[layer.wanted])
        units = np.frombuffer(np.asarray(layer.bias_buffer.data, np.uint8).tobytes(), "<i4") - np.rint(
            error / layer.bias_step
        ).astype(np.int32)
        layer.bias_buffer.data = np.frombuffer(units.astype("<i4").tobytes(), np.uint8)


def _layers(model: Any) -> list[_Layer]:
    graph = model.subgraphs[0]
    codes = [code.builtinCode for code in model.operatorCodes]
    layers = []
    for operator in graph.operators:
        kind = _KINDS.get(codes[operator.opcodeIndex])
        if kind is None:
            continue
        given, weight, bias = (graph.tensors[index] for index in operator.inputs[:3])
        values, steps = (_values(model, tensor) for tensor in (weight, bias))
        layers.append(
            _Layer(
                kind,
                operator.builtinOptions,
                text(given.name),
                text(graph.tensors[operator.outputs[0]].name),
                values,
                steps,
                _scales(bias),
                model.buffers[bias.buffer],
            )
        )
    return layers


def _values(model: Any, tensor: Any) -> np.ndarray:
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    kind = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.INT8: "i1", schema.TensorType.INT32: "<i4"}[tensor.type]
    values = np.frombuffer(data, kind).reshape(tensor.shape).astype(np.float64)
    scales = _scales(tensor)
    if len(scales) == 1:
        return values * scales
    shape = [1] * values.ndim
    shape[tensor.quantization.quantizedDimension] = -1
    return values * scales.reshape(shape)  # weights have zero point 0


def _scales(tensor: Any) -> np.ndarray:
    scales = getattr(tensor.quantization, "scale", None)
    return np.ones(1) if scales is None else np.asarray(scales, np.float64)


def _mean_patches(run: Activations, layers: list[_Layer], images: np.ndarray) -> dict[str, np.ndarray]:
    """Per layer, the mean of what each weight is multiplied with, over positions and images."""
    sums: dict[str, np.ndarray] = {}
    for index in range(len(images)):
        values = run(images[index : index + 1])
        for layer in layers:
            shape = values[layer.wanted].shape
            patch = _patch(layer, values[layer.given].astype(np.float64), shape)
            sums[layer.wanted] = sums.get(layer.wanted, 0) + patch / len(images)
    return sums


def _patch(layer: _Layer, values: np.ndarray, out: tuple[int, ...]) -> np.ndarray:
    """``(height, width, channels)`` of a convolution's window, or ``(channels,)``."""
    if layer.kind == "FULLY_CONNECTED":
        return values.reshape(-1, values.shape[-1]).mean(0)
    kernel, strides = layer.weight.shape[1:3], (layer.options.strideH, layer.options.strideW)
    if layer.options.padding == schema.Padding.SAME:
        total = [
            max((size - 1) * stride + span - given, 0)
            for size, stride, span, given in zip(out[1:3], strides, kernel, values.shape[1:3], strict=True)
        ]
        values = np.pad(values, [(0, 0), *((some // 2, some - some // 2) for some in total), (0, 0)])
    patch = np.empty((*kernel, values.shape[3]))
    for row, column in np.ndindex(*kernel):
        seen = values[
            :, row : row + strides[0] * out[1] : strides[0], column : column + strides[1] * out[2] : strides[1]
        ]
        patch[row, column] = seen.mean((0, 1, 2))
    return patch


def _output(layer: _Layer, patch: np.ndarray) -> np.ndarray:
    """The mean of each output channel before its activation function."""
    if layer.kind == "DEPTHWISE_CONV_2D":
        return (layer.weight[0] * patch).sum((0, 1)) + layer.bias
    return layer.weight.reshape(len(layer.weight), -1) @ patch.ravel() + layer.bias
