"""ONNX operators (NCHW) as TFLite's (NHWC), one function each: a closed set, what our families and their exports hold.

What is written runs on LiteRT with XNNPACK, on TensorFlow Lite Micro and, after quantization and where its operators
suffice, through bakenn: so means are average pools, and hard sigmoids are RELU6 (TensorFlow Lite Micro has neither
MEAN of every shape nor RELU_0_TO_1).
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
        """Raises ``ValueError`` naming the operator and the layer of what TFLite cannot hold here."""
        for node in self.source.nodes:
            if id(node) in self._done:
                continue
            if node.op_type not in _WRITERS:
                raise self.error(node, f"known are {', '.join(sorted(_WRITERS))}")
            _WRITERS[node.op_type](self, node)

    def error(self, node: onnx.NodeProto, reason: str) -> ValueError:
        return ValueError(f"{layer(node)}: TFLite export does not know this {node.op_type}: {reason}")

    def input(self, node: onnx.NodeProto, index: int = 0) -> int:
        name = self.source.resolve(node.input[index])
        if name not in self.tensors:
            raise self.error(node, f"its operand {name} is a constant; it must be computed from the image")
        return self.tensors[name]

    def map(self, node: onnx.NodeProto) -> tuple[int, tuple[int, ...]]:
        """The first operand, which must be a feature map, and its NHWC shape."""
        x = self.input(node)
        shape = self.builder.shape(x)
        if len(shape) != 4:
            raise self.error(node, f"its input has shape {shape}, not height, width and channels")
        return x, shape

    def constant(self, node: onnx.NodeProto, index: int) -> np.ndarray:
        value = self.source.constant(node, index)
        if value is None:
            raise self.error(node, f"its operand {index} must be a constant")
        return value

    def result(self, node: onnx.NodeProto, tensor: int) -> None:
        self.tensors[node.output[0]] = tensor

    def next(self, node: onnx.NodeProto, *ops: str) -> onnx.NodeProto | None:
        """The node of one of the kinds ``ops`` that alone reads ``node``."""
        user = self.source.only_user(node)
        return user if user is not None and user.op_type in ops else None

    def fused(self, node: onnx.NodeProto) -> tuple[int, onnx.NodeProto]:
        """The activation that alone reads ``node`` and may be part of its operator, and the node that then ends it."""
        user = self.next(node, "Relu", "Clip")
        if user is None:
            return _ACTIVATION.NONE, node
        self._done.add(id(user))
        return self.clamp(user), user

    def skip(self, node: onnx.NodeProto) -> None:
        """``node`` is written already, as a part of another."""
        self._done.add(id(node))

    def clamp(self, node: onnx.NodeProto) -> int:
        if node.op_type == "Relu":
            return _ACTIVATION.RELU
        low, high = (self.source.constant(node, index) for index in (1, 2))
        limits = [None if limit is None else limit.item() for limit in (low, high)]
        if limits != [0, 6]:
            raise self.error(node, f"it clips to {limits}; only 0 to 6 is known")
        return _ACTIVATION.RELU6


def _conv(writer: Writer, node: onnx.NodeProto) -> None:
    x, (_, height, width, channels) = writer.map(node)
    attributes = writer.source.attributes(node)
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise writer.error(node, f"auto_pad {attributes['auto_pad'].decode()}; only explicit pads are known")
    weight = writer.constant(node, 1).astype(np.float32)
    bias = writer.constant(node, 2) if len(node.input) > 2 else np.zeros(len(weight))
    group = attributes.get("group", 1)
    depthwise = group > 1
    if weight.ndim != 4 or (depthwise and (group != channels or weight.shape[1] != 1)):
        raise writer.error(node, f"weight {weight.shape} with {group} groups is neither 2-d full nor depthwise")
    sigmoid = writer.next(node, "HardSigmoid")
    if sigmoid is not None:  # 6 * sigmoid = clip(6 * alpha * x + 6 * beta, 0, 6)
        writer.skip(sigmoid)
        slope, offset = _six_times(writer, sigmoid)
        weight, bias = weight * np.float32(slope), bias * slope + offset
        activation, last = _ACTIVATION.RELU6, node
    else:
        activation, last = writer.fused(node)

    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(weight.shape[2:], dilations, strict=True)]
    rows = Axis(height, spans[0], strides[0], top, bottom)
    columns = Axis(width, spans[1], strides[1], left, right)
    label = layer(node)
    same = rows.same and columns.same
    if not same and (rows.explicit != (0, 0) or columns.explicit != (0, 0)):
        x = _pad(writer, x, label, rows.explicit, columns.explicit)
    # TFLite: filters, height, width, channels; depthwise: 1, height, width, channels.
    kernel = weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)
    constants = [
        writer.builder.constant(f"{label}/weight", kernel),
        writer.builder.constant(f"{label}/bias", bias.astype(np.float32)),
    ]
    output = writer.builder.tensor(label, (1, rows.outputs, columns.outputs, len(weight)))
    writer.builder.operator(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        [x, *constants],
        output,
        version=2 if depthwise and dilations != [1, 1] else 1,
        kind="DepthwiseConv2D" if depthwise else "Conv2D",
        padding=_PADDING.SAME if same else _PADDING.VALID,
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


def _pad(writer: Writer, x: int, label: str, rows: tuple[int, int], columns: tuple[int, int]) -> int:
    _, height, width, channels = writer.builder.shape(x)
    sizes = writer.builder.constant(f"{label}/pads", np.array([(0, 0), rows, columns, (0, 0)], np.int32))
    output = writer.builder.tensor(f"{label}/padded", (1, height + sum(rows), width + sum(columns), channels))
    return writer.builder.operator("PAD", [x, sizes], output, kind="Pad")


def _six_times(writer: Writer, node: onnx.NodeProto) -> tuple[float, float]:
    attributes = writer.source.attributes(node)
    slope, offset = 6 * attributes.get("alpha", 0.2), 6 * attributes.get("beta", 0.5)
    return (1.0 if np.isclose(slope, 1, atol=1e-6) else slope), offset


def _scaled(writer: Writer, x: int, factor: float, label: str) -> int:
    number = writer.builder.constant(f"{label}/factor", np.array([factor], np.float32))
    output = writer.builder.tensor(label, writer.builder.shape(x))
    return writer.builder.operator("MUL", [x, number], output, kind="Mul")


def _hard_sigmoid(writer: Writer, node: onnx.NodeProto) -> None:
    x, label = writer.input(node), layer(node)
    slope, offset = _six_times(writer, node)
    if slope != 1:
        x = _scaled(writer, x, slope, f"{label}/slope")
    number = writer.builder.constant(f"{label}/offset", np.array([offset], np.float32))
    shifted = writer.builder.tensor(f"{label}/clipped", writer.builder.shape(x))
    writer.builder.operator("ADD", [x, number], shifted, kind="Add", fusedActivationFunction=_ACTIVATION.RELU6)
    writer.result(node, _scaled(writer, shifted, 1 / 6, label))


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


def _two(code: str, kind: str) -> Callable[[Writer, onnx.NodeProto], None]:
    def write(writer: Writer, node: onnx.NodeProto) -> None:
        left, right = writer.input(node, 0), writer.input(node, 1)
        shapes = [writer.builder.shape(x) for x in (left, right)]
        if len(shapes[0]) != len(shapes[1]):
            raise writer.error(node, f"its operands have shapes {shapes[0]} and {shapes[1]}")
        shape = np.broadcast_shapes(*shapes)
        if shape != shapes[0]:  # both commute, and the kernels of some runtimes want the larger operand first
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
    wanted = (1, shape[-1])
    _check_flat(writer, node, wanted)
    writer.result(node, reshaped(writer.builder, x, wanted, layer(node), resizable=writer.resizable))


def _check_flat(writer: Writer, node: onnx.NodeProto, wanted: tuple[int, int]) -> None:
    if node.op_type == "Flatten":
        axis = writer.source.attributes(node).get("axis", 1)
        if axis != 1:
            raise writer.error(node, f"axis {axis}; only 1 is known")
        return
    target = writer.constant(node, 1).tolist()
    if len(target) != 2 or target[1] not in (-1, wanted[1]):
        raise writer.error(node, f"it reshapes to {target}; only (batch, channels) is known")


def reshaped(builder: Builder, x: int, shape: tuple[int, ...], label: str, *, resizable: bool = False) -> int:
    """``x`` in another shape; ``resizable`` leaves its first dimension to the runtime."""
    sizes = [-1, *shape[1:]] if resizable else list(shape)
    values = builder.constant(f"{label}/shape", np.array(sizes, np.int32))
    return builder.operator("RESHAPE", [x, values], builder.tensor(label, shape), kind="Reshape", newShape=sizes)


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
    "Add": _two("ADD", "Add"),
    "Clip": _clamp,
    "Conv": _conv,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _elementwise("HARD_SWISH", "HardSwish"),
    "Mul": _two("MUL", "Mul"),
    "ReduceMean": _mean,
    "Relu": _clamp,
    "Reshape": _flatten,
    "Sigmoid": _elementwise("LOGISTIC"),
}
