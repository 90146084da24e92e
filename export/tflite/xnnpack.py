"""ONNX graphs rewritten so that XNNPACK, with which LiteRT runs models on phones, has fast code for every operator.

Measured with LiteRT 2.3 on an x86 CPU:

- A 7x7 depthwise convolution of 64 channels of 28x28 takes 5 times (float32) or 7 times (int8) as long as
  the three convolutions written here, because XNNPACK has depthwise code for kernels of at most 25
  positions.
- An int8 HARD_SWISH, for which it has no code, takes 15 times as long as a hard sigmoid and a product.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ofa.export.tflite.source import layer

# The convolutions that a 7x7 depthwise one becomes: rows and columns of its kernel, and dilations.
WIDE_PARTS = {
    "inner": ((slice(1, 6), slice(1, 6)), [1, 1]),
    "rows": ((slice(None, None, 6), slice(None)), [6, 1]),
    "columns": ((slice(1, 6), slice(None, None, 6)), [1, 6]),
}


def for_xnnpack(graph: onnx.ModelProto, *, int8: bool) -> onnx.ModelProto:
    """The same graph with three convolutions for each 7x7 depthwise one and, for int8, products for hard swishes.

    Outputs are equal but for rounding. Not for microcontrollers: their kernels gain nothing and need more
    memory.
    """
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    result.graph.ClearField("node")
    for node in graph.graph.node:
        if node.op_type == "Conv" and _is_wide_depthwise(node, weights):
            _split_wide_depthwise(result.graph, node, numpy_helper.to_array(weights[node.input[1]]))
        elif node.op_type == "HardSwish" and int8:
            _append_gated_product(result.graph, node)
        else:
            result.graph.node.append(node)
    return result


def _is_wide_depthwise(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    attributes = _attributes(node)
    centred = attributes.get("pads") == [3, 3, 3, 3] and attributes.get("dilations", [1, 1]) == [1, 1]
    return centred and attributes.get("group", 1) > 1 and list(weights[node.input[1]].dims[1:]) == [1, 7, 7]


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _split_wide_depthwise(graph: onnx.GraphProto, node: onnx.NodeProto, weight: np.ndarray) -> None:
    """Appends convolutions with the inner 5x5, the outer rows and the outer columns of the kernel, and their sum.

    The outer ones are dilated, so that all three have the same centre.
    """
    strides = _attributes(node).get("strides", [1, 1])
    label = layer(node)
    outputs = [f"{node.output[0]}.{part}" for part in WIDE_PARTS]

    # One convolution for each part of the kernel; the first one has the bias.
    for output, (part, ((rows, columns), dilations)) in zip(outputs, WIDE_PARTS.items(), strict=True):
        kernel = np.ascontiguousarray(weight[:, :, rows, columns])
        tensor = numpy_helper.from_array(kernel, f"{label}.{part}.weight")
        graph.initializer.append(tensor)
        halves = [(size - 1) * dilation // 2 for size, dilation in zip(kernel.shape[2:], dilations, strict=True)]
        graph.node.append(
            helper.make_node(
                "Conv",
                [node.input[0], tensor.name, *(node.input[2:] if part == "inner" else [])],
                [output],
                name=f"{label}.{part}",
                kernel_shape=kernel.shape[2:],
                strides=strides,
                pads=halves * 2,
                dilations=dilations,
                group=len(weight),
            )
        )

    # Add takes two operands.
    inner, *outer = outputs
    outer_sum = f"{node.output[0]}.outer"
    graph.node.append(helper.make_node("Add", outer, [outer_sum], name=f"{label}.outer"))
    graph.node.append(helper.make_node("Add", [inner, outer_sum], list(node.output), name=f"{label}.sum"))


def _append_gated_product(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Appends a HardSwish as ``x * HardSigmoid(x)``."""
    (x,), (output,), label = node.input, node.output, layer(node)
    gate = f"{output}.gate"
    graph.node.append(helper.make_node("HardSigmoid", [x], [gate], name=f"{label}.gate", alpha=1 / 6, beta=0.5))
    graph.node.append(helper.make_node("Mul", [x, gate], [output], name=label))
