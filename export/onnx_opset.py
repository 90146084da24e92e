"""The lowest opset that an ONNX graph needs, so that old runtimes read it, and a batch size that is fixed.

torch's exporter stamps its own newest opset on every file, and runtimes refuse a file whose opset is newer than they
are. Some accelerators' compilers (NNAPI, CoreML) take no node of a graph whose batch size is open.
"""

from __future__ import annotations

import onnx
from onnx import defs, helper, numpy_helper, version_converter

from ofa.export.formats import MAX_OPSET, MIN_OPSET

# The opset since which a node, written as it is here, means the same for float32; later ones added types and options.
_SINCE = {
    "Add": 7,
    "AveragePool": 11,
    "Clip": 11,
    "Constant": 11,
    "Conv": 11,
    "DequantizeLinear": 13,
    "Flatten": 11,
    "Gemm": 11,
    "GlobalAveragePool": 1,
    "HardSigmoid": 6,
    "HardSwish": 14,
    "Identity": 1,
    "Mul": 7,
    "QuantizeLinear": 13,
    "Relu": 6,
    "Reshape": 5,
    "Sigmoid": 6,
}
_MAPS = (2, 3)  # axes of height and width


def check_format(*, opset: int | None = None, batch: int | None = None) -> None:
    """Raises ``ValueError`` when ``opset`` is not known here, or ``batch`` is no positive whole number."""
    if opset is not None and (not _whole(opset) or opset not in range(MIN_OPSET, MAX_OPSET + 1)):
        raise ValueError(f"opset is {opset!r}; it must be a whole number from {MIN_OPSET} to {MAX_OPSET}")
    if batch is not None and (not _whole(batch) or batch < 1):
        raise ValueError(f"batch is {batch!r}; it must be a positive whole number, or None for any batch size")


def set_opset(model: onnx.ModelProto, opset: int | None = None) -> None:
    """Rewrites ``model`` in place for ``opset`` (default: the lowest that it needs), with the IR version of that time.

    Averages over the whole map become GlobalAveragePool, which every opset has; below opset 14 a hard swish becomes its
    product.

    Raises ``ValueError`` when ``opset`` is not known here, or is lower than the graph needs.
    """
    check_format(opset=opset)
    _pool_by_name(model)
    if opset is not None and opset < _SINCE["HardSwish"]:
        _multiply_hard_swishes(model)
    for node in model.graph.node:
        if node.op_type == "Reshape":  # allowzero, of opset 14, says nothing of a shape that holds no 0
            _drop(node, "allowzero")
    stamped = opset_of(model)
    needed = {node.op_type: _needed(node, stamped) for node in model.graph.node}
    lowest = max(MIN_OPSET, *needed.values()) if needed else MIN_OPSET
    if opset is not None and opset < lowest:
        names = ", ".join(sorted(name for name, since in needed.items() if since > opset))
        raise ValueError(f"opset is {opset}; the graph needs {lowest}, for its operators {names}")
    wanted = opset or lowest
    if wanted > stamped and any(name not in _SINCE for name in needed):
        converted = version_converter.convert_version(model, wanted)
        model.CopyFrom(converted)
    _stamp(model, wanted)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that ``model`` is written in."""
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def raise_opset(model: onnx.ModelProto, lowest: int) -> None:
    """Stamps at least ``lowest`` on a model that ``set_opset`` rewrote; such nodes mean the same in newer opsets."""
    if opset_of(model) < lowest:
        _stamp(model, lowest)


def set_batch(model: onnx.ModelProto, batch: int | None) -> None:
    """Fixes the batch size of the model's input, in place, and of all that is computed; None leaves it open.

    Raises ``ValueError`` when it is no positive whole number.
    """
    check_format(batch=batch)
    if batch is None:
        return
    graph = model.graph
    for value in (*graph.input, *graph.output):
        size = value.type.tensor_type.shape.dim[0]
        size.Clear()
        size.dim_value = batch
    graph.ClearField("value_info")  # what was inferred for any batch size
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _needed(node: onnx.NodeProto, stamped: int) -> int:
    if node.domain not in ("", "ai.onnx"):
        return MIN_OPSET
    since = _SINCE.get(node.op_type)
    return defs.get_schema(node.op_type, stamped).since_version if since is None else since


def _stamp(model: onnx.ModelProto, opset: int) -> None:
    others = [entry for entry in model.opset_import if entry.domain not in ("", "ai.onnx")]
    imports = [helper.make_opsetid("", opset), *others]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    model.ir_version = helper.find_min_ir_version_for(imports, ignore_unknown=True)


def _pool_by_name(model: onnx.ModelProto) -> None:
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "ReduceMean":
            continue
        values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        axes = values.get("axes")
        if axes is None and len(node.input) > 1 and node.input[1] in constants:
            axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
        if axes is None or sorted(axis % 4 for axis in axes) != list(_MAPS) or not values.get("keepdims", 1):
            continue
        node.op_type = "GlobalAveragePool"
        del node.attribute[:]
        del node.input[1:]
    _drop_unused(graph)


def _multiply_hard_swishes(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type != "HardSwish":
            model.graph.node.append(node)
            continue
        gate = f"{node.output[0]}.gate"
        name = node.name or gate
        sigmoid = helper.make_node("HardSigmoid", [node.input[0]], [gate], name=f"{name}.gate", alpha=1 / 6, beta=0.5)
        product = helper.make_node("Mul", [node.input[0], gate], list(node.output), name=name)
        model.graph.node.extend([sigmoid, product])


def _drop(node: onnx.NodeProto, name: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
