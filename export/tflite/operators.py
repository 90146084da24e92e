"""ONNX operators (NCHW) as TFLite's (NHWC), one function each, for the closed set that our families use.

The result runs on LiteRT with XNNPACK, on TensorFlow Lite Micro and, after quantization and where its
operators suffice, through bakenn. So means are average pools and hard sigmoids are RELU6: TensorFlow Lite
Micro has neither MEAN of every shape nor RELU_0_TO_1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from ofa.export.tflite import products, shapes
from ofa.export.tflite.convolutions import average_pool, conv, global_mean, max_pool, scaled, six_times
from ofa.export.tflite.source import layer
from ofa.export.tflite.writer import ACTIVATION, Stored, Writer

Write = Callable[[Writer, onnx.NodeProto], None]


def write_nodes(writer: Writer) -> None:
    """Writes all nodes. Raises ``ValueError`` naming an operator, and its layer, that TFLite does not have."""
    for node in writer.source.nodes:
        if writer.is_done(node):
            continue
        if node.op_type not in _WRITERS:
            raise writer.error(node, f"known are {', '.join(sorted(_WRITERS))}")
        _WRITERS[node.op_type](writer, node)


def _hard_sigmoid(writer: Writer, node: onnx.NodeProto) -> None:
    (x, layout), label = writer.stored(node), layer(node)
    slope, offset = six_times(writer, node)
    if slope != 1:
        x = scaled(writer, x, slope, f"{label}/slope")
    options = {"fusedActivationFunction": ACTIVATION.RELU6}
    clipped = writer.binary("ADD", x, np.array([offset]), f"{label}/clipped", **options)
    writer.result(node, scaled(writer, clipped, 1 / 6, label), layout)


def _clamp(writer: Writer, node: onnx.NodeProto) -> None:
    x, layout = writer.stored(node)
    code = "RELU" if writer.clamp(node) == ACTIVATION.RELU else "RELU6"
    writer.result(node, writer.unary(code, x, layer(node)), layout)


def _elementwise(code: str, kind: str = "") -> Write:
    def write(writer: Writer, node: onnx.NodeProto) -> None:
        x, layout = writer.stored(node)
        writer.result(node, writer.unary(code, x, layer(node), kind=kind), layout)

    return write


def _gelu(writer: Writer, node: onnx.NodeProto) -> None:
    x, layout = writer.stored(node)
    approximate = writer.source.attributes(node).get("approximate", b"none") == b"tanh"
    writer.result(node, writer.unary("GELU", x, layer(node), kind="Gelu", approximate=approximate), layout)


def _binary(code: str) -> Write:
    def write(writer: Writer, node: onnx.NodeProto) -> None:
        constants = [writer.source.constant(node, index) for index in (0, 1)]
        commutes = code in ("ADD", "MUL")
        if constants[1] is not None or (constants[0] is not None and commutes):
            side = 0 if constants[1] is not None else 1
            left = writer.stored(node, side)
            right: int | np.ndarray = _laid_out(writer, node, constants[1 - side], left)
        elif constants[0] is not None:
            raise writer.error(node, "its first operand is a constant")
        else:
            left, right = _operands(writer, node, commutes=commutes)
        activation, last = writer.fused(node)
        output = writer.binary(code, left.index, right, layer(node), fusedActivationFunction=activation)
        writer.result(last, output, left.layout)

    return write


def _operands(writer: Writer, node: onnx.NodeProto, *, commutes: bool) -> tuple[Stored, int]:
    """Both operands in the layout of the larger one, which kernels of some runtimes need first."""
    left, right = (writer.stored(node, index) for index in (0, 1))
    if len(left.layout) != len(right.layout):
        raise writer.error(node, f"its operands have shapes {writer.shape(left)} and {writer.shape(right)}")
    shape = np.broadcast_shapes(writer.shape(left), writer.shape(right))
    if shape != writer.shape(left) and commutes:
        left, right = right, left
    return left, writer.moved(right, left.layout, layer(node))


def _laid_out(writer: Writer, node: onnx.NodeProto, constant: np.ndarray, like: Stored) -> np.ndarray:
    """A constant operand as the other one is stored; it must not enlarge that."""
    rank, shape = len(like.layout), writer.shape(like)
    fits = all(size in (1, full) for size, full in zip(constant.shape[::-1], shape[::-1], strict=False))
    if constant.ndim > rank or not fits:
        raise writer.error(node, f"its constant has the shape {constant.shape}, the other operand {shape}")
    full = constant.reshape((1,) * (rank - constant.ndim) + constant.shape).transpose(like.layout)
    leading = next((axis for axis, size in enumerate(full.shape) if size > 1), rank - 1)
    return full.reshape(full.shape[leading:])


_WRITERS: dict[str, Write] = {
    "Add": _binary("ADD"),
    "AveragePool": average_pool,
    "Clip": _clamp,
    "Concat": shapes.concat,
    "Conv": conv,
    "Div": _binary("DIV"),
    "Flatten": shapes.reshape,
    "Gather": shapes.gather,
    "Gelu": _gelu,
    "Gemm": products.gemm,
    "GlobalAveragePool": global_mean,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _elementwise("HARD_SWISH", "HardSwish"),
    "LayerNormalization": products.layer_norm,
    "MatMul": products.matmul,
    "MaxPool": max_pool,
    "Mul": _binary("MUL"),
    "Pad": shapes.pad,
    "ReduceL2": shapes.reduction("L2"),
    "ReduceMean": shapes.reduction("MEAN"),
    "ReduceSum": shapes.reduction("SUM"),
    "Relu": _clamp,
    "Reshape": shapes.reshape,
    "Sigmoid": _elementwise("LOGISTIC"),
    "Slice": shapes.slice_,
    "Softmax": products.softmax,
    "Split": shapes.split,
    "Sqrt": _elementwise("SQRT"),
    "Sub": _binary("SUB"),
    "Tanh": _elementwise("TANH"),
    "Transpose": shapes.transpose,
}
