"""ONNX operators (NCHW) as TFLite's (NHWC), one function each, for the closed set that our families use.

The result runs on LiteRT with XNNPACK, on TensorFlow Lite Micro and, after quantization and where its
operators suffice, through bakenn. So means are average pools and hard sigmoids are RELU6: TensorFlow Lite
Micro has neither MEAN of every shape nor RELU_0_TO_1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from ofa.export.tflite.flatbuffer import Builder, schema
from ofa.export.tflite.lowering import Axis
from ofa.export.tflite.source import Source, layer

_ACTIVATION = schema.ActivationFunctionType
_PADDING = schema.Padding


class Writer:
    """Writes the nodes of a source in order; ``tensors`` maps ONNX names to TFLite tensors."""

    def __init__(self, source: Source, *, resizable: bool = False) -> None:
        self.source = source
        self.resizable = resizable
        self.builder = Builder(resizable=resizable)
        self.tensors: dict[str, int] = {}
        self._done: set[int] = set()

    def write(self) -> None:
        """Writes all nodes. Raises ``ValueError`` naming an operator, and its layer, that TFLite does not have."""
        for node in self.source.nodes:
            if id(node) in self._done:
                continue
            if node.op_type not in _WRITERS:
                raise self.error(node, f"known are {', '.join(sorted(_WRITERS))}")
            _WRITERS[node.op_type](self, node)

    def error(self, node: onnx.NodeProto, reason: str) -> ValueError:
        """The error that names ``node`` and its layer."""
        return ValueError(f"{layer(node)}: TFLite export does not know this {node.op_type}: {reason}")

    def input(self, node: onnx.NodeProto, index: int = 0) -> int:
        """The tensor of operand ``index``, which must not be a constant."""
        name = self.source.resolve(node.input[index])
        if name not in self.tensors:
            raise self.error(node, f"its operand {name} is a constant; it must be computed from the image")
        return self.tensors[name]

    def map(self, node: onnx.NodeProto) -> tuple[int, tuple[int, ...]]:
        """The tensor of the first operand, which must be a feature map, and its NHWC shape."""
        x = self.input(node)
        shape = self.builder.shape(x)
        if len(shape) != 4:
            raise self.error(node, f"its input has shape {shape}, not height, width and channels")
        return x, shape

    def constant(self, node: onnx.NodeProto, index: int) -> np.ndarray:
        """The value of operand ``index``, which must be a constant."""
        value = self.source.constant(node, index)
        if value is None:
            raise self.error(node, f"its operand {index} must be a constant")
        return value

    def result(self, node: onnx.NodeProto, tensor: int) -> None:
        """Says that ``tensor`` is the output of ``node``."""
        self.tensors[node.output[0]] = tensor

    def next(self, node: onnx.NodeProto, *ops: str) -> onnx.NodeProto | None:
        """The only reader of ``node``, when it is one of the kinds ``ops``."""
        reader = self.source.only_reader(node)
        return reader if reader is not None and reader.op_type in ops else None

    def fused(self, node: onnx.NodeProto) -> tuple[int, onnx.NodeProto]:
        """The activation function to fuse into ``node``'s operator, and the node whose output that operator gives."""
        reader = self.next(node, "Relu", "Clip")
        if reader is None:
            return _ACTIVATION.NONE, node
        self.skip(reader)
        return self.clamp(reader), reader

    def skip(self, node: onnx.NodeProto) -> None:
        """Says that ``node`` is written as a part of another operator."""
        self._done.add(id(node))

    def clamp(self, node: onnx.NodeProto) -> int:
        """TFLite's activation function of a Relu or Clip."""
        if node.op_type == "Relu":
            return _ACTIVATION.RELU
        low, high = (self.source.constant(node, index) for index in (1, 2))
        limits = [None if limit is None else limit.item() for limit in (low, high)]
        if limits != [0, 6]:
            raise self.error(node, f"it clips to {limits}; only 0 to 6 is known")
        return _ACTIVATION.RELU6


def _conv(writer: Writer, node: onnx.NodeProto) -> None:
    x, (_, _, _, channels) = writer.map(node)
    weight, bias, depthwise = _conv_constants(writer, node, channels)
    attributes, label = writer.source.attributes(node), layer(node)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])

    # A hard sigmoid that follows is the convolution's own ReLU6, divided by 6.
    sigmoid = writer.next(node, "HardSigmoid")
    if sigmoid is not None:
        writer.skip(sigmoid)
        slope, offset = _six_times(writer, sigmoid)
        weight, bias = weight * np.float32(slope), bias * slope + offset
        activation, last = _ACTIVATION.RELU6, node
    else:
        activation, last = writer.fused(node)

    x, padding, (height, width) = _pad_input(writer, node, x, weight.shape[2:])

    # TFLite's order: filters, height, width, channels; of a depthwise one: 1, height, width, channels.
    kernel = weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)
    constants = [
        writer.builder.constant(f"{label}/weight", kernel),
        writer.builder.constant(f"{label}/bias", bias.astype(np.float32)),
    ]
    output = writer.builder.tensor(label, (1, height, width, len(weight)))
    writer.builder.operator(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        [x, *constants],
        output,
        version=2 if depthwise and dilations != [1, 1] else 1,
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
        output, last = _scaled(writer, output, 1 / 6, layer(sigmoid)), sigmoid
    writer.result(last, output)


def _conv_constants(writer: Writer, node: onnx.NodeProto, channels: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Weight, bias, and whether it is depthwise, of a convolution that TFLite has."""
    attributes = writer.source.attributes(node)
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise writer.error(node, f"auto_pad {attributes['auto_pad'].decode()}; only explicit pads are known")
    weight = writer.constant(node, 1).astype(np.float32)
    bias = writer.constant(node, 2) if len(node.input) > 2 else np.zeros(len(weight))
    group = attributes.get("group", 1)
    depthwise = group > 1
    if weight.ndim != 4 or (depthwise and (group != channels or weight.shape[1] != 1)):
        raise writer.error(node, f"weight {weight.shape} with {group} groups is neither 2-d full nor depthwise")
    return weight, bias, depthwise


def _pad_input(
    writer: Writer, node: onnx.NodeProto, x: int, kernel: tuple[int, ...]
) -> tuple[int, int, tuple[int, int]]:
    """What a convolution reads, its ``Padding``, and the height and width of its output.

    Its input is padded by an operator of its own, where TFLite's padding SAME is another one.
    """
    _, height, width, channels = writer.builder.shape(x)
    attributes = writer.source.attributes(node)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    rows = Axis(height, spans[0], strides[0], top, bottom)
    columns = Axis(width, spans[1], strides[1], left, right)

    outputs = (rows.outputs, columns.outputs)
    if rows.same and columns.same:
        return x, _PADDING.SAME, outputs
    if rows.explicit == columns.explicit == (0, 0):
        return x, _PADDING.VALID, outputs

    label, pads = layer(node), [(0, 0), rows.explicit, columns.explicit, (0, 0)]
    sizes = writer.builder.constant(f"{label}/pads", np.array(pads, np.int32))
    shape = (1, height + sum(rows.explicit), width + sum(columns.explicit), channels)
    padded = writer.builder.operator("PAD", [x, sizes], writer.builder.tensor(f"{label}/padded", shape), kind="Pad")
    return padded, _PADDING.VALID, outputs


def _six_times(writer: Writer, node: onnx.NodeProto) -> tuple[float, float]:
    """Slope and offset of six times a hard sigmoid, which is ``clip(slope * x + offset, 0, 6)``."""
    attributes = writer.source.attributes(node)
    slope, offset = 6 * attributes.get("alpha", 0.2), 6 * attributes.get("beta", 0.5)
    return (1.0 if np.isclose(slope, 1, atol=1e-6) else slope), offset


def _scaled(writer: Writer, x: int, factor: float, label: str) -> int:
    constant = writer.builder.constant(f"{label}/factor", np.array([factor], np.float32))
    output = writer.builder.tensor(label, writer.builder.shape(x))
    return writer.builder.operator("MUL", [x, constant], output, kind="Mul")


def _hard_sigmoid(writer: Writer, node: onnx.NodeProto) -> None:
    x, label = writer.input(node), layer(node)
    slope, offset = _six_times(writer, node)
    if slope != 1:
        x = _scaled(writer, x, slope, f"{label}/slope")
    constant = writer.builder.constant(f"{label}/offset", np.array([offset], np.float32))
    clipped = writer.builder.tensor(f"{label}/clipped", writer.builder.shape(x))
    writer.builder.operator("ADD", [x, constant], clipped, kind="Add", fusedActivationFunction=_ACTIVATION.RELU6)
    writer.result(node, _scaled(writer, clipped, 1 / 6, label))


def _clamp(writer: Writer, node: onnx.NodeProto) -> None:
    x = writer.input(node)
    code = "RELU" if writer.clamp(node) == _ACTIVATION.RELU else "RELU6"
    output = writer.builder.tensor(layer(node), writer.builder.shape(x))
    writer.result(node, writer.builder.operator(code, [x], output))


def _elementwise(code: str, kind: str = "") -> Callable[[Writer, onnx.NodeProto], None]:
    def write(writer: Writer, node: onnx.NodeProto) -> None:
        x = writer.input(node)
        output = writer.builder.tensor(layer(node), writer.builder.shape(x))
        writer.result(node, writer.builder.operator(code, [x], output, kind=kind))

    return write


def _binary(code: str, kind: str) -> Callable[[Writer, onnx.NodeProto], None]:
    def write(writer: Writer, node: onnx.NodeProto) -> None:
        left, right = writer.input(node, 0), writer.input(node, 1)
        shapes = [writer.builder.shape(x) for x in (left, right)]
        if len(shapes[0]) != len(shapes[1]):
            raise writer.error(node, f"its operands have shapes {shapes[0]} and {shapes[1]}")
        shape = np.broadcast_shapes(*shapes)
        # Additions and products commute, and the kernels of some runtimes need the larger operand first.
        if shape != shapes[0]:
            left, right = right, left
        activation, last = writer.fused(node)
        output = writer.builder.tensor(layer(node), shape)
        writer.builder.operator(code, [left, right], output, kind=kind, fusedActivationFunction=activation)
        writer.result(last, output)

    return write


def _mean(writer: Writer, node: onnx.NodeProto) -> None:
    x, (_, height, width, channels) = writer.map(node)
    attributes = writer.source.attributes(node)
    if node.op_type == "ReduceMean":
        axes = attributes.get("axes")
        axes = writer.constant(node, 1).tolist() if axes is None else axes
        if sorted(axis % 4 for axis in axes) != [2, 3] or not attributes.get("keepdims", 1):
            raise writer.error(node, f"it averages axes {axes}; only height and width with keepdims=1 is known")
    if (height, width) != (1, 1):
        output = writer.builder.tensor(layer(node), (1, 1, 1, channels))
        sizes = {"filterHeight": height, "filterWidth": width, "strideH": 1, "strideW": 1}
        x = writer.builder.operator("AVERAGE_POOL_2D", [x], output, kind="Pool2D", padding=_PADDING.VALID, **sizes)
    writer.result(node, x)


def _flatten(writer: Writer, node: onnx.NodeProto) -> None:
    x = writer.input(node)
    shape = writer.builder.shape(x)
    if len(shape) == 4 and shape[1:3] != (1, 1):
        raise writer.error(node, f"it flattens a map of {shape[1]}x{shape[2]}; average it to 1x1 first")
    channels = shape[-1]

    # A Reshape is known if it flattens, too.
    if node.op_type == "Flatten":
        axis = writer.source.attributes(node).get("axis", 1)
        if axis != 1:
            raise writer.error(node, f"axis {axis}; only 1 is known")
    else:
        target = writer.constant(node, 1).tolist()
        if len(target) != 2 or target[1] not in (-1, channels):
            raise writer.error(node, f"it reshapes to {target}; only (batch, channels) is known")
    writer.result(node, reshaped(writer.builder, x, (1, channels), layer(node), resizable=writer.resizable))


def reshaped(builder: Builder, x: int, shape: tuple[int, ...], label: str, *, resizable: bool = False) -> int:
    """Appends a reshape of ``x`` and returns its output. With ``resizable`` the runtime infers the first dimension."""
    sizes = [-1, *shape[1:]] if resizable else list(shape)
    constant = builder.constant(f"{label}/shape", np.array(sizes, np.int32))
    return builder.operator("RESHAPE", [x, constant], builder.tensor(label, shape), kind="Reshape", newShape=sizes)


def _gemm(writer: Writer, node: onnx.NodeProto) -> None:
    x = writer.input(node)
    attributes = writer.source.attributes(node)
    factors = [attributes.get(name, 1.0) for name in ("alpha", "beta")]
    if factors != [1, 1] or attributes.get("transA", 0) or len(writer.builder.shape(x)) != 2:
        raise writer.error(node, "only input @ weight + bias of a (batch, channels) input is known")
    weight = writer.constant(node, 1).astype(np.float32)
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = writer.constant(node, 2) if len(node.input) > 2 else np.float32(0)

    activation, last = writer.fused(node)
    label = layer(node)
    constants = [
        writer.builder.constant(f"{label}/weight", weight),
        writer.builder.constant(f"{label}/bias", np.broadcast_to(bias, len(weight)).astype(np.float32)),
    ]
    output = writer.builder.tensor(label, (1, len(weight)))
    options = {"kind": "FullyConnected", "fusedActivationFunction": activation}
    writer.result(last, writer.builder.operator("FULLY_CONNECTED", [x, *constants], output, **options))


_WRITERS: dict[str, Callable[[Writer, onnx.NodeProto], None]] = {
    "Add": _binary("ADD", "Add"),
    "Clip": _clamp,
    "Conv": _conv,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _elementwise("HARD_SWISH", "HardSwish"),
    "Mul": _binary("MUL", "Mul"),
    "ReduceMean": _mean,
    "Relu": _clamp,
    "Reshape": _flatten,
    "Sigmoid": _elementwise("LOGISTIC"),
}
