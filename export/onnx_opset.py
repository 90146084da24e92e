"""Rewrites an ONNX graph for the lowest opset that it needs, or for one fixed batch size.

torch's exporter declares its own newest opset in every file, and runtimes refuse a file whose opset is
newer than they are. The compilers of some accelerators (NNAPI, CoreML) need a fixed batch size.
"""

from __future__ import annotations

import onnx
from onnx import defs, helper, numpy_helper, version_converter

from ofa.export.formats import MAX_OPSET, MIN_OPSET
from ofa.export.onnx_rewrites import REPLACEABLE, fit, input_since

# The opset since which a node of this form means the same for float32. Later opsets added types and options.
# Where its axes became an input, that of the attribute: ``fit`` writes it.
_SINCE = {
    "Add": 7,
    "AveragePool": 11,
    "Clip": 11,
    "Concat": 11,
    "Constant": 11,
    "Conv": 11,
    "DequantizeLinear": 13,
    "Div": 7,
    "Expand": 8,
    "Flatten": 11,
    "Gather": 11,
    "Gelu": 20,
    "Gemm": 11,
    "GlobalAveragePool": 1,
    "HardSigmoid": 6,
    "HardSwish": 14,
    "Identity": 1,
    "LayerNormalization": 17,
    "MatMul": 9,
    "MaxPool": 11,
    "Mul": 7,
    "Pad": 11,
    "QuantizeLinear": 13,
    "Range": 11,
    "ReduceL2": 11,
    "ReduceMean": 11,
    "ReduceSum": 11,
    "Relu": 6,
    "Reshape": 5,
    "Shape": 1,
    "Sigmoid": 6,
    "Slice": 11,
    "Softmax": 11,
    "Split": 11,
    "Sqrt": 6,
    "Squeeze": 11,
    "Sub": 7,
    "Transpose": 1,
    "Unsqueeze": 11,
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

    Averages over the whole map become GlobalAveragePool, which every opset has. Below the opset of a hard
    swish, a layer norm, a GELU or a part of a shape, several older operators stand for it.

    Raises ``ValueError`` when ``opset`` is not supported here, or is lower than the graph needs.
    """
    check_format(opset=opset)

    # The lowest opset is that of the most demanding operator, of those that cannot be replaced.
    _use_global_average_pool(model)
    declared = opset_of(model)
    names = {tensor.name for tensor in model.graph.initializer}
    names |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    needed: dict[str, int] = {}
    for node in model.graph.node:
        since = _needed_opset(node, declared, names)
        needed[node.op_type] = max(since, needed.get(node.op_type, 0))
    lowest = max(MIN_OPSET, *needed.values()) if needed else MIN_OPSET
    too_new = [name for name, since in needed.items() if opset is not None and since > opset]
    if any(name not in REPLACEABLE for name in too_new):
        lowest = max(since for name, since in needed.items() if name not in REPLACEABLE)
        listed = ", ".join(sorted(name for name in too_new if name not in REPLACEABLE))
        raise ValueError(f"opset is {opset}; the graph needs {lowest}, for its operators {listed}")

    # Operators of other exporters may have to be converted to a newer opset.
    target = opset or lowest
    if target > declared and any(name not in _SINCE for name in needed):
        converted = version_converter.convert_version(model, target)
        model.CopyFrom(converted)
    fit(model, target)
    _declare_opset(model, target)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that ``model`` declares."""
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def raise_opset(model: onnx.ModelProto, lowest: int) -> None:
    """Declares at least ``lowest`` in a model that ``set_opset`` rewrote, whose nodes newer opsets have, too."""
    if opset_of(model) < lowest:
        fit(model, lowest)
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


def _needed_opset(node: onnx.NodeProto, declared: int, constants: set[str]) -> int:
    if node.domain not in ("", "ai.onnx"):
        return MIN_OPSET
    since = _SINCE.get(node.op_type)
    if since is None:
        return defs.get_schema(node.op_type, declared).since_version
    if node.op_type == "Shape" and node.attribute:
        return 15  # a part of a shape
    # An input that is not known cannot become an attribute.
    computed = len(node.input) > 1 and node.input[1] not in constants
    return input_since(node) if computed else since


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
