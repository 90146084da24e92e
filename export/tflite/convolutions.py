"""Convolutions and pools as TFLite operators, and the pads that TFLite does not have."""

from __future__ import annotations

import numpy as np
import onnx

from ofa.export.tflite.lowering import Axis
from ofa.export.tflite.source import layer
from ofa.export.tflite.writer import ACTIVATION, PADDING, Writer
from ofa.supernet.integers import ceil_div


def conv(writer: Writer, node: onnx.NodeProto) -> None:
    x, (_, _, _, channels) = writer.map(node)
    weight, bias, depthwise = _conv_constants(writer, node, channels)
    attributes, label = writer.source.attributes(node), layer(node)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])

    # A hard sigmoid that follows is the convolution's own ReLU6, divided by 6.
    sigmoid = writer.next(node, "HardSigmoid")
    if sigmoid is not None:
        writer.skip(sigmoid)
        slope, offset = six_times(writer, sigmoid)
        weight, bias = weight * np.float32(slope), bias * slope + offset
        activation, last = ACTIVATION.RELU6, node
    else:
        activation, last = writer.fused(node)

    x, padding, (height, width) = _pad_input(writer, node, x, weight.shape[2:])

    # TFLite's order: filters, height, width, channels; of a depthwise one: 1, height, width, channels.
    kernel = weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)
    constants = weights(writer, label, kernel, bias)
    grouped = not depthwise and weight.shape[1] < channels
    output = writer.builder.tensor(label, (1, height, width, len(weight)))
    writer.builder.operator(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        [x, *constants],
        output,
        version=6 if grouped else 2 if depthwise and dilations != [1, 1] else 1,
        kind="DepthwiseConv2D" if depthwise else "Conv2D",
        padding=padding,
        strideH=strides[0],
        strideW=strides[1],
        dilationHFactor=dilations[0],
        dilationWFactor=dilations[1],
        fusedActivationFunction=activation,
        **({"depthMultiplier": len(weight) // channels} if depthwise else {}),
    )
    if sigmoid is not None:
        output, last = scaled(writer, output, 1 / 6, layer(sigmoid)), sigmoid
    writer.result(last, output)


def weights(writer: Writer, label: str, weight: np.ndarray, bias: np.ndarray) -> list[int]:
    """Adds the weight and the bias of a layer."""
    return [
        writer.builder.constant(f"{label}/weight", weight.astype(np.float32)),
        writer.builder.constant(f"{label}/bias", bias.astype(np.float32)),
    ]


def _conv_constants(writer: Writer, node: onnx.NodeProto, channels: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Weight, bias, and whether it is depthwise, of a convolution that TFLite has."""
    attributes = writer.source.attributes(node)
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise writer.error(node, f"auto_pad {attributes['auto_pad'].decode()}; only explicit pads are known")
    weight = writer.constant(node, 1).astype(np.float32)
    bias = writer.constant(node, 2) if len(node.input) > 2 else np.zeros(len(weight))
    group = attributes.get("group", 1)
    if weight.ndim != 4 or weight.shape[1] * group != channels:
        raise writer.error(node, f"weight {weight.shape} with {group} groups of {channels} channels is not 2-d")
    return weight, bias, group > 1 and group == channels


def _pad_input(
    writer: Writer, node: onnx.NodeProto, x: int, kernel: tuple[int, ...], *, border: str = "", explicit: bool = False
) -> tuple[int, int, tuple[int, int]]:
    """What a convolution or pool reads, its ``Padding``, and the height and width of its output.

    Its input is padded (see ``padded``) by an operator of its own, where TFLite's padding SAME is another one,
    or always with ``explicit``.
    """
    _, height, width, _ = writer.builder.shape(x)
    attributes = writer.source.attributes(node)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    axes = [(height, spans[0], strides[0], top, bottom), (width, spans[1], strides[1], left, right)]
    if attributes.get("ceil_mode", 0):
        axes = [(*axis[:4], axis[4] + _overhang(*axis)) for axis in axes]
    rows, columns = (Axis(*axis) for axis in axes)

    outputs = (rows.outputs, columns.outputs)
    if rows.same and columns.same and not explicit:
        return x, PADDING.SAME, outputs
    pads = [(0, 0), rows.explicit, columns.explicit, (0, 0)]
    return padded(writer, x, pads, layer(node), border=border), PADDING.VALID, outputs


def _overhang(size: int, span: int, stride: int, before: int, after: int) -> int:
    """How far the last window goes beyond the padded map, when the number of windows is rounded up.

    A window that would begin in the padding behind the map is left out.
    """
    windows = ceil_div(size + before + after - span, stride) + 1
    if (windows - 1) * stride >= size + before:
        windows -= 1
    return max((windows - 1) * stride + span - size - before - after, 0)


def padded(writer: Writer, x: int, pads: list[tuple[int, int]], label: str, *, border: str = "") -> int:
    """Appends a pad before and after each axis of a stored tensor, if there is any to add; returns its output.

    With zeros, or with the tensor's own values (``border``): ``"reflect"`` leaves the edge out.
    """
    if not np.any(pads):
        return x
    shape = tuple(size + sum(pad) for size, pad in zip(writer.builder.shape(x), pads, strict=True))
    inputs = [x, writer.builder.constant(f"{label}/pads", np.array(pads, np.int32))]
    output = writer.builder.tensor(f"{label}/padded", shape)
    if border:
        mode = {"reflect": 0, "symmetric": 1}[border]
        return writer.builder.operator("MIRROR_PAD", inputs, output, kind="MirrorPad", mode=mode)
    return writer.builder.operator("PAD", inputs, output, kind="Pad")


def max_pool(writer: Writer, node: onnx.NodeProto) -> None:
    """Padded with zeros behind an activation function that is never negative, else with values of the same window.

    Neither changes a maximum, and both can be int8, which minus infinity cannot.
    """
    attributes = writer.source.attributes(node)
    kernel, pads = attributes["kernel_shape"], attributes.get("pads", [0, 0, 0, 0])
    wide = any(2 * pad >= size for pad, size in zip(pads, kernel * 2, strict=True))
    if attributes.get("dilations", [1, 1]) != [1, 1] or attributes.get("ceil_mode", 0) or wide:
        raise writer.error(node, "it is dilated, rounds up, or is padded by half its window")
    producer = writer.source.producer(node)
    positive = producer is not None and producer.op_type in ("Relu", "Clip")
    _pool(writer, node, "MAX_POOL_2D", border="" if positive else "symmetric")


def average_pool(writer: Writer, node: onnx.NodeProto) -> None:
    """TFLite's padding does not count; a padded zero does."""
    attributes = writer.source.attributes(node)
    counted, pads = attributes.get("count_include_pad", 0), attributes.get("pads", [0, 0, 0, 0])
    if any(pads) and (not counted or attributes.get("ceil_mode", 0)):
        raise writer.error(node, "it is padded, and the padding does not count")
    _pool(writer, node, "AVERAGE_POOL_2D", explicit=any(pads))


def _pool(writer: Writer, node: onnx.NodeProto, code: str, *, border: str = "", explicit: bool = False) -> None:
    x, _ = writer.map(node)
    kernel = tuple(writer.source.attributes(node)["kernel_shape"])
    x, padding, sides = _pad_input(writer, node, x, kernel, border=border, explicit=explicit)
    strides = writer.source.attributes(node).get("strides", [1, 1])
    output = writer.builder.tensor(layer(node), (1, *sides, writer.builder.shape(x)[3]))
    sizes = {"filterHeight": kernel[0], "filterWidth": kernel[1], "strideH": strides[0], "strideW": strides[1]}
    writer.result(node, writer.builder.operator(code, [x], output, kind="Pool2D", padding=padding, **sizes))


def global_mean(writer: Writer, node: onnx.NodeProto) -> None:
    """As an average pool: TensorFlow Lite Micro does not have MEAN of every shape."""
    x, (_, height, width, channels) = writer.map(node)
    if (height, width) != (1, 1):
        output = writer.builder.tensor(layer(node), (1, 1, 1, channels))
        sizes = {"filterHeight": height, "filterWidth": width, "strideH": 1, "strideW": 1}
        x = writer.builder.operator("AVERAGE_POOL_2D", [x], output, kind="Pool2D", padding=PADDING.VALID, **sizes)
    writer.result(node, x)


def six_times(writer: Writer, node: onnx.NodeProto) -> tuple[float, float]:
    """Slope and offset of six times a hard sigmoid, which is ``clip(slope * x + offset, 0, 6)``."""
    attributes = writer.source.attributes(node)
    slope, offset = 6 * attributes.get("alpha", 0.2), 6 * attributes.get("beta", 0.5)
    return (1.0 if np.isclose(slope, 1, atol=1e-6) else slope), offset


def scaled(writer: Writer, x: int, factor: float, label: str) -> int:
    constant = writer.builder.constant(f"{label}/factor", np.array([factor], np.float32))
    output = writer.builder.tensor(label, writer.builder.shape(x))
    return writer.builder.operator("MUL", [x, constant], output, kind="Mul")
