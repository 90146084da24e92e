"""ONNX operators as another opset has them, with the same results but for rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

# The opset since which the axes (or sizes) of an operator are an input; before, they are this attribute.
_INPUT_SINCE = {
    "ReduceL2": (18, "axes"),
    "ReduceMean": (18, "axes"),
    "ReduceSum": (13, "axes"),
    "Split": (13, "split"),
    "Squeeze": (13, "axes"),
    "Unsqueeze": (13, "axes"),
}


def fit(model: onnx.ModelProto, opset: int) -> None:
    """Rewrites, in place, the operators that ``opset`` does not have, or has with attributes or inputs instead."""
    graph = model.graph
    constants = _constants(graph)
    weights = _Weights(graph)
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        since, write = _REPLACED.get(node.op_type, (0, None))
        if write is not None and opset < since and (node.op_type != "Shape" or node.attribute):
            graph.node.extend(write(node, weights))
            continue
        _place_sizes(node, constants, weights, opset)
        graph.node.append(node)
    _drop_unused(graph, constants)


def input_since(node: onnx.NodeProto) -> int:
    """The opset that an operator needs because its axes or sizes are computed; 0 of other operators."""
    return _INPUT_SINCE.get(node.op_type, (0, ""))[0]


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Small constants, by name."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if len(tensor.dims) < 2}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _place_sizes(node: onnx.NodeProto, constants: dict[str, np.ndarray], weights: _Weights, opset: int) -> None:
    """Makes axes or sizes an input or an attribute, as ``opset`` has them, and drops attributes that change nothing."""
    since, name = _INPUT_SINCE.get(node.op_type, (0, ""))
    # No shape has zeros that mean zero, and sizes are given.
    idle = {"allowzero"} | ({"num_outputs"} if len(node.input) > 1 else set())
    given = [attribute for attribute in node.attribute if attribute.name == name]
    if opset < since and len(node.input) > 1 and node.input[1] in constants:
        node.attribute.append(helper.make_attribute(name, constants[node.input[1]].tolist()))
        del node.input[1:]
        idle.add("noop_with_empty_axes")
    elif since and opset >= since and given:
        node.input.append(weights.add(node, np.array(given[0].ints, np.int64)))
        idle.add(name)
    kept = [attribute for attribute in node.attribute if attribute.name not in idle]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)


def _drop_unused(graph: onnx.GraphProto, constants: dict[str, np.ndarray]) -> None:
    """Drops the constants of ``constants`` that no node reads any more."""
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for items, name_of in ((graph.initializer, lambda one: one.name), (graph.node, lambda one: one.output[0])):
        kept = [item for item in items if name_of(item) not in constants or name_of(item) in used]
        if len(kept) < len(items):
            del items[:]
            items.extend(kept)


class _Weights:
    """Adds constants to a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph

    def add(self, node: onnx.NodeProto, value: float | np.ndarray) -> str:
        value = value if isinstance(value, np.ndarray) else np.float32(value)
        name = f"{node.output[0]}.constant{len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name


_Replacement = Callable[[onnx.NodeProto, _Weights], Iterator[onnx.NodeProto]]


def _chain(
    node: onnx.NodeProto, steps: Sequence[tuple[str, Sequence[str], dict[str, object]]]
) -> Iterator[onnx.NodeProto]:
    """Nodes of which ``{i}`` among the inputs is the output of step ``i``; the last gives ``node``'s output."""
    outputs = [f"{node.output[0]}.{step}" for step in range(len(steps) - 1)] + [node.output[0]]
    label = node.name or node.output[0]
    for step, (op, inputs, attributes) in enumerate(steps):
        names = [outputs[name] if isinstance(name, int) else name for name in inputs]
        name = label if step == len(steps) - 1 else f"{label}.{step}"
        yield helper.make_node(op, names, [outputs[step]], name=name, **attributes)


def _hard_swish(node: onnx.NodeProto, _weights: _Weights) -> Iterator[onnx.NodeProto]:
    """``x * hard_sigmoid(x)``."""
    x = node.input[0]
    return _chain(node, [("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.5}), ("Mul", [x, 0], {})])


def _gelu(node: onnx.NodeProto, weights: _Weights) -> Iterator[onnx.NodeProto]:
    """``x / 2 * (1 + erf(x / sqrt(2)))``, or with tanh the polynomial of the approximation."""
    x = node.input[0]
    one, half = weights.add(node, 1), weights.add(node, 0.5)
    tail = [("Mul", [x, half], {})]
    if any(attribute.name == "approximate" and attribute.s == b"tanh" for attribute in node.attribute):
        cubic, root = weights.add(node, 0.044715), weights.add(node, math.sqrt(2 / math.pi))
        head = [
            ("Mul", [x, x], {}),
            ("Mul", [0, cubic], {}),
            ("Add", [1, one], {}),
            ("Mul", [x, 2], {}),
            ("Mul", [3, root], {}),
            ("Tanh", [4], {}),
        ]
    else:
        head = [("Div", [x, weights.add(node, math.sqrt(2))], {}), ("Erf", [0], {})]
    last = len(head)
    return _chain(node, [*head, ("Add", [last - 1, one], {}), *tail, ("Mul", [last + 1, last], {})])


def _layer_norm(node: onnx.NodeProto, weights: _Weights) -> Iterator[onnx.NodeProto]:
    """Of the last axis: the difference from the mean, divided by the deviation, scaled and shifted."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    x, scale, *bias = node.input
    axes = {"axes": [-1], "keepdims": 1}
    steps = [
        ("ReduceMean", [x], axes),
        ("Sub", [x, 0], {}),
        ("Mul", [1, 1], {}),
        ("ReduceMean", [2], axes),
        ("Add", [3, weights.add(node, attributes.get("epsilon", 1e-5))], {}),
        ("Sqrt", [4], {}),
        ("Div", [1, 5], {}),
        ("Mul", [6, scale], {}),
        *([("Add", [7, bias[0]], {})] if bias else []),
    ]
    return _chain(node, steps)


def _part_of_shape(node: onnx.NodeProto, weights: _Weights) -> Iterator[onnx.NodeProto]:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    bounds = (attributes.get("start", 0), attributes.get("end", np.iinfo(np.int64).max))
    names = [weights.add(node, np.array([bound], np.int64)) for bound in bounds]
    return _chain(node, [("Shape", [node.input[0]], {}), ("Slice", [0, *names], {})])


# The opset that has the operator, and what stands for it before.
_REPLACED: dict[str, tuple[int, _Replacement]] = {
    "HardSwish": (14, _hard_swish),
    "Shape": (15, _part_of_shape),
    "LayerNormalization": (17, _layer_norm),
    "Gelu": (20, _gelu),
}
REPLACEABLE = tuple(_REPLACED)
