"""Rewrites an ONNX graph for the lowest opset that it needs, or for one fixed batch size.

torch's exporter declares its own newest opset in every file, and runtimes refuse a file whose opset is
newer than they are. The compilers of some accelerators (NNAPI, CoreML) need a fixed batch size.
"""

from __future__ import annotations

import onnx
from onnx import defs, helper, numpy_helper, version_converter

from ofa.export.formats import MAX_OPSET, MIN_OPSET

# The opset since which a node of this form means the same for float32. Later opsets added types and options.
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
_MAP_AXES = [2, 3]  # height and width


def check_format(*, opset: int | None = None, batch: int | None = None) -> None:
    """Raises ``ValueError`` when ``opset`` is not supported here, or ``batch`` is no positive whole number."""
    if opset is not None and (not _whole(opset) or opset not in range(MIN_OPSET, MAX_OPSET + 1)):
        raise ValueError(f"opset is {opset!r}; it must be a whole number from {MIN_OPSET} to {MAX_OPSET}")
    if batch is not None and (not _whole(batch) or batch < 1):
        raise ValueError(f"batch is {batch!r}; it must be a positive whole number, or None for any batch size")


def set_opset(model: onnx.ModelProto, opset: int | None = None) -> None:
    """Rewrites ``model`` in place for ``opset`` (default: the lowest that it needs), with the IR version of that opset.

    Averages over the whole map become GlobalAveragePool, which every opset has. Below opset 14 a hard swish
    becomes a hard sigmoid and a product.

    Raises ``ValueError`` when ``opset`` is not supported here, or is lower than the graph needs.
    """
    check_format(opset=opset)

    # Replace what newer opsets alone can express.
    _use_global_average_pool(model)
    if opset is not None and opset < _SINCE["HardSwish"]:
        _replace_hard_swish(model)
    for node in model.graph.node:
        if node.op_type == "Reshape":
            # The attribute allowzero, of opset 14, changes nothing for a shape without zeros.
            kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)

    # The lowest opset is that of the most demanding operator.
    declared = opset_of(model)
    needed = {node.op_type: _needed_opset(node, declared) for node in model.graph.node}
    lowest = max(MIN_OPSET, *needed.values()) if needed else MIN_OPSET
    if opset is not None and opset < lowest:
        names = ", ".join(sorted(name for name, since in needed.items() if since > opset))
        raise ValueError(f"opset is {opset}; the graph needs {lowest}, for its operators {names}")

    # Operators of other exporters may have to be converted to a newer opset.
    target = opset or lowest
    if target > declared and any(name not in _SINCE for name in needed):
        converted = version_converter.convert_version(model, target)
        model.CopyFrom(converted)
    _declare_opset(model, target)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that ``model`` declares."""
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def raise_opset(model: onnx.ModelProto, lowest: int) -> None:
    """Declares at least ``lowest`` in a model that ``set_opset`` rewrote; its nodes mean the same in newer opsets."""
    if opset_of(model) < lowest:
        _declare_opset(model, lowest)


def set_batch(model: onnx.ModelProto, batch: int | None) -> None:
    """Fixes the batch size of the model's input and of all computed tensors, in place; None leaves it variable.

    Raises ``ValueError`` when ``batch`` is no positive whole number.
    """
    check_format(batch=batch)
    if batch is None:
        return
    graph = model.graph
    for value in (*graph.input, *graph.output):
        size = value.type.tensor_type.shape.dim[0]
        size.Clear()
        size.dim_value = batch
    graph.ClearField("value_info")  # these shapes were inferred for any batch size
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _needed_opset(node: onnx.NodeProto, declared: int) -> int:
    if node.domain not in ("", "ai.onnx"):
        return MIN_OPSET
    since = _SINCE.get(node.op_type)
    return defs.get_schema(node.op_type, declared).since_version if since is None else since


def _declare_opset(model: onnx.ModelProto, opset: int) -> None:
    others = [entry for entry in model.opset_import if entry.domain not in ("", "ai.onnx")]
    imports = [helper.make_opsetid("", opset), *others]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    model.ir_version = helper.find_min_ir_version_for(imports, ignore_unknown=True)


def _use_global_average_pool(model: onnx.ModelProto) -> None:
    """Replaces every ReduceMean over height and width."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "ReduceMean":
            continue
        # The axes are an attribute up to opset 17, and an input since.
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        axes = attributes.get("axes")
        if axes is None and len(node.input) > 1 and node.input[1] in constants:
            axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
        if axes is None or sorted(axis % 4 for axis in axes) != _MAP_AXES or not attributes.get("keepdims", 1):
            continue
        node.op_type = "GlobalAveragePool"
        del node.attribute[:]
        del node.input[1:]

    # Drop the axes that no node reads any more.
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _replace_hard_swish(model: onnx.ModelProto) -> None:
    """Writes every HardSwish as ``x * HardSigmoid(x)``."""
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
