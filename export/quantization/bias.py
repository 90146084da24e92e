"""Bias correction: the mean error that int8 causes in each channel is subtracted from the channel's bias.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(https://arxiv.org/abs/1906.04721), section 4.2, with the mean inputs measured on calibration images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ofa.export.quantization.activations import Activations
from ofa.export.tflite.flatbuffer import pack, schema, text
from ofa.supernet.integers import ceil_div

_MAX_IMAGES = 64  # means over so many maps are precise enough, and every layer runs all images
_KINDS = {getattr(schema.BuiltinOperator, name): name for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")}


class _Layer(NamedTuple):
    """A layer with weights. ``weight`` and ``bias`` are real numbers.

    ``input`` and ``output`` name its tensors. ``bias_scale`` is the real value of one unit of an int8
    network's bias, per channel.
    """

    kind: str
    options: Any
    input: str
    output: str
    weight: np.ndarray
    bias: np.ndarray
    bias_scale: np.ndarray
    bias_buffer: Any


def correct(model: Any, source: bytes, images: np.ndarray) -> None:
    """Corrects the biases of the int8 ``ModelT`` ``model`` in place, so that channel means are those of ``source``.

    ``source`` is the float32 file that it was quantised from. ``images`` are
    ``(n, channels, height, width)``, of which at most 64 are used. Layers are corrected in order, each with
    the errors that the corrected ones before it leave. Means are taken before the activation function. Runs
    the network once per layer and image.
    """
    images = images[:: ceil_div(len(images), _MAX_IMAGES)]
    float32 = Activations(source)
    float32_layers = {layer.output: layer for layer in _layers(float32.model)}
    layers = [layer for layer in _layers(model) if layer.output in float32_layers]
    patches = _mean_patches(float32, [float32_layers[layer.output] for layer in layers], images)
    for layer in layers:
        expected = _mean_output(float32_layers[layer.output], patches[layer.output])
        # Run anew for each layer: corrections before it change its input.
        patch = _mean_patches(Activations(pack(model)), [layer], images)[layer.output]
        error = _mean_output(layer, patch) - expected
        units = np.frombuffer(np.asarray(layer.bias_buffer.data, np.uint8).tobytes(), "<i4")
        units = units - np.rint(error / layer.bias_scale).astype(np.int32)
        layer.bias_buffer.data = np.frombuffer(units.astype("<i4").tobytes(), np.uint8)


def _layers(model: Any) -> list[_Layer]:
    graph = model.subgraphs[0]
    codes = [code.builtinCode for code in model.operatorCodes]
    layers = []
    for operator in graph.operators:
        kind = _KINDS.get(codes[operator.opcodeIndex])
        if kind is None:
            continue
        features, weight, bias = (graph.tensors[index] for index in operator.inputs[:3])
        layers.append(
            _Layer(
                kind,
                operator.builtinOptions,
                input=text(features.name),
                output=text(graph.tensors[operator.outputs[0]].name),
                weight=_constant(model, weight),
                bias=_constant(model, bias),
                bias_scale=_scales(bias),
                bias_buffer=model.buffers[bias.buffer],
            )
        )
    return layers


def _constant(model: Any, tensor: Any) -> np.ndarray:
    """The real numbers of a stored tensor; weights and biases have zero point 0."""
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    kind = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.INT8: "i1", schema.TensorType.INT32: "<i4"}[tensor.type]
    stored = np.frombuffer(data, kind).reshape(tensor.shape).astype(np.float64)
    scales = _scales(tensor)
    if len(scales) == 1:
        return stored * scales
    shape = [1] * stored.ndim
    shape[tensor.quantization.quantizedDimension] = -1
    return stored * scales.reshape(shape)


def _scales(tensor: Any) -> np.ndarray:
    scales = getattr(tensor.quantization, "scale", None)
    return np.ones(1) if scales is None else np.asarray(scales, np.float64)


def _mean_patches(run: Activations, layers: list[_Layer], images: np.ndarray) -> dict[str, np.ndarray]:
    """Per layer, the mean over positions and images of the input that each weight is multiplied with."""
    means: dict[str, np.ndarray] = {}
    for index in range(len(images)):
        activations = run(images[index : index + 1])
        for layer in layers:
            shape = activations[layer.output].shape
            patch = _mean_patch(layer, activations[layer.input].astype(np.float64), shape)
            means[layer.output] = means.get(layer.output, 0) + patch / len(images)
    return means


def _mean_patch(layer: _Layer, features: np.ndarray, output_shape: tuple[int, ...]) -> np.ndarray:
    """``(height, width, channels)`` of a convolution's window, or ``(channels,)``."""
    if layer.kind == "FULLY_CONNECTED":
        return features.reshape(-1, features.shape[-1]).mean(0)

    kernel, strides = layer.weight.shape[1:3], (layer.options.strideH, layer.options.strideW)
    dilations = (layer.options.dilationHFactor, layer.options.dilationWFactor)
    _, height, width, _ = output_shape
    if layer.options.padding == schema.Padding.SAME:
        spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
        padding = [
            max((outputs - 1) * stride + span - inputs, 0)
            for outputs, stride, span, inputs in zip((height, width), strides, spans, features.shape[1:3], strict=True)
        ]
        features = np.pad(features, [(0, 0), *((both // 2, both - both // 2) for both in padding), (0, 0)])

    # Each position of the kernel is multiplied with a strided view of the map.
    patch = np.empty((*kernel, features.shape[3]))
    for row, column in np.ndindex(*kernel):
        top, left = row * dilations[0], column * dilations[1]
        rows = slice(top, top + strides[0] * height, strides[0])
        columns = slice(left, left + strides[1] * width, strides[1])
        patch[row, column] = features[:, rows, columns].mean((0, 1, 2))
    return patch


def _mean_output(layer: _Layer, patch: np.ndarray) -> np.ndarray:
    """The mean of each output channel before its activation function."""
    if layer.kind == "DEPTHWISE_CONV_2D":
        multiplier = layer.weight.shape[3] // patch.shape[2]
        return (layer.weight[0] * patch.repeat(multiplier, axis=2)).sum((0, 1)) + layer.bias

    # The filters of a group read the channels of that group.
    groups = patch.shape[-1] // layer.weight.shape[-1]
    filters = layer.weight.reshape(groups, len(layer.weight) // groups, -1)
    parts = np.stack(np.split(patch, groups, axis=-1)).reshape(groups, -1, 1)
    return (filters @ parts).ravel() + layer.bias
