"""Linear layers, products of two computed tensors, and norms of the last axis as TFLite operators."""

from __future__ import annotations

import numpy as np
import onnx

from ofa.export.tflite.convolutions import weights
from ofa.export.tflite.shapes import split_sizes
from ofa.export.tflite.source import layer
from ofa.export.tflite.writer import ACTIVATION, PADDING, Stored, Writer


def gemm(writer: Writer, node: onnx.NodeProto) -> None:
    """A linear layer of vectors."""
    x = writer.read(node)
    attributes = writer.source.attributes(node)
    factors = [attributes.get(name, 1.0) for name in ("alpha", "beta")]
    if factors != [1, 1] or attributes.get("transA", 0) or len(writer.builder.shape(x)) != 2:
        raise writer.error(node, "only input @ weight + bias of a (batch, channels) input is known")
    weight = writer.constant(node, 1)
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = writer.constant(node, 2) if len(node.input) > 2 else np.float32(0)
    _linear(writer, node, node, x, weight, np.broadcast_to(bias, len(weight)))


def matmul(writer: Writer, node: onnx.NodeProto) -> None:
    """A linear layer of tokens or maps, whose bias is an addition that follows; or a product of two tensors."""
    weight = writer.source.constant(node, 1)
    if weight is None:
        _batch_matmul(writer, node)
        return
    if weight.ndim != 2:
        raise writer.error(node, f"its weight has the shape {weight.shape}")
    x = writer.stored(node)
    # Channels are last in any case; the other axes may have any order.
    last = len(x.layout) - 1
    index, layout = x if x.layout[-1] == last else (writer.read(node, layout=tuple(range(last + 1))), None)
    bias, end = np.zeros(weight.shape[1]), node
    addition = writer.next(node, "Add")
    if addition is not None:
        operands = [writer.source.constant(addition, operand) for operand in (0, 1)]
        found = [value for value in operands if value is not None and value.shape == bias.shape]
        if found:
            writer.skip(addition)
            bias, end = found[0], addition
    layout = layout or tuple(range(last + 1))
    parts = writer.next(end, "Split")
    if parts is None:
        _linear(writer, node, end, index, weight.T, bias, layout=layout)
    else:
        _split_linear(writer, parts, index, weight.T, bias, layout=layout)


def _split_linear(
    writer: Writer, node: onnx.NodeProto, x: int, weight: np.ndarray, bias: np.ndarray, *, layout: tuple[int, ...]
) -> None:
    """Queries, keys and values as three layers, so that no data has to be cut."""
    axis, sizes = split_sizes(writer, node, rank=len(layout))
    if axis != len(layout) - 1:
        raise writer.error(node, f"it cuts axis {axis} of a linear layer's output")
    writer.skip(node)
    stop = 0
    for part, (name, size) in enumerate(zip(node.output, sizes, strict=True)):
        start, stop = stop, stop + size
        output = _layer(writer, f"{layer(node)}/part{part}", x, weight[start:stop], bias[start:stop])
        writer.tensors[name] = Stored(output, layout)


def _linear(
    writer: Writer,
    node: onnx.NodeProto,
    end: onnx.NodeProto,
    x: int,
    weight: np.ndarray,
    bias: np.ndarray,
    *,
    layout: tuple[int, ...] | None = None,
) -> None:
    """``end`` is the node of the bias."""
    activation, last = writer.fused(end)
    writer.result(last, _layer(writer, layer(node), x, weight, bias, activation), layout)


def _layer(
    writer: Writer, label: str, x: int, weight: np.ndarray, bias: np.ndarray, activation: int = ACTIVATION.NONE
) -> int:
    """On maps a convolution, whose int8 weights have a scale for each channel."""
    shape = writer.builder.shape(x)
    output = writer.builder.tensor(label, (*shape[:-1], len(weight)))
    options = {"fusedActivationFunction": activation}
    if len(shape) == 4:
        inputs = [x, *weights(writer, label, weight[:, None, None, :], bias)]
        ones = dict.fromkeys(("strideH", "strideW", "dilationHFactor", "dilationWFactor"), 1)
        return writer.builder.operator(
            "CONV_2D", inputs, output, kind="Conv2D", padding=PADDING.SAME, **ones, **options
        )
    inputs = [x, *weights(writer, label, weight, bias)]
    if len(shape) == 2:
        return writer.builder.operator("FULLY_CONNECTED", inputs, output, kind="FullyConnected", **options)
    options["keepNumDims"] = True
    return writer.builder.operator("FULLY_CONNECTED", inputs, output, version=5, kind="FullyConnected", **options)


def _batch_matmul(writer: Writer, node: onnx.NodeProto) -> None:
    """Of matrices in the last two axes; the second operand may be stored transposed."""
    left, right = (writer.stored(node, index) for index in (0, 1))
    rank = len(left.layout)
    plain = tuple(range(rank))
    swapped = (*plain[:-2], plain[-1], plain[-2])
    if len(right.layout) != rank:
        raise writer.error(node, f"its operands have shapes {writer.shape(left)} and {writer.shape(right)}")
    stored_swapped = right.layout != plain and right.layout.index(rank - 2) > right.layout.index(rank - 1)
    shape = (*writer.shape(left)[:-1], writer.shape(right)[-1])
    inputs = [
        writer.moved(left, plain, f"{layer(node)}/left"),
        writer.moved(right, swapped if stored_swapped else plain, f"{layer(node)}/right"),
    ]
    output = writer.builder.tensor(layer(node), shape)
    writer.builder.operator("BATCH_MATMUL", inputs, output, kind="BatchMatMul", adjX=False, adjY=stored_swapped)
    writer.result(node, output, plain)


def softmax(writer: Writer, node: onnx.NodeProto) -> None:
    """Of one axis, which is stored last."""
    stored = writer.stored(node)
    rank = len(stored.layout)
    axis = writer.source.attributes(node).get("axis", -1) % rank
    layout = (*(other for other in stored.layout if other != axis), axis)
    x = writer.moved(stored, layout, layer(node))
    writer.result(node, writer.unary("SOFTMAX", x, layer(node), kind="Softmax", beta=1.0), layout)


def layer_norm(writer: Writer, node: onnx.NodeProto) -> None:
    """Of the last axis, as XNNPACK and other runtimes have it: means, differences and a root."""
    stored = writer.stored(node)
    rank = len(stored.layout)
    attributes, label = writer.source.attributes(node), layer(node)
    if attributes.get("axis", -1) % rank != rank - 1:
        raise writer.error(node, "it normalises several axes")
    layout = stored.layout if stored.layout[-1] == rank - 1 else tuple(range(rank))
    x = writer.moved(stored, layout, label)

    mean = writer.reduced("MEAN", x, [rank - 1], f"{label}/mean")
    squares = writer.binary("SQUARED_DIFFERENCE", x, mean, f"{label}/squares")
    variance = writer.reduced("MEAN", squares, [rank - 1], f"{label}/variance")
    shifted = writer.binary("ADD", variance, np.array([attributes.get("epsilon", 1e-5)]), f"{label}/epsilon")
    root = writer.unary("RSQRT", shifted, f"{label}/root")
    centred = writer.binary("SUB", x, mean, f"{label}/centred")
    normalised = writer.binary("MUL", centred, root, f"{label}/normalised")
    result = writer.binary("MUL", normalised, writer.constant(node, 1), f"{label}/scaled")
    if len(node.input) > 2:
        result = writer.binary("ADD", result, writer.constant(node, 2), label)
    writer.result(node, result, layout)
