"""Reads an int8 TFLite model with bakenn, a compiler to C, and folds the model's pads into its convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from ofa.export.extras import missing

KNOWN = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE"),
    *("PAD", "PADV2"),
)
_ADVICE = (
    "the C compiler knows convolutions, fully connected layers, additions, pools, reshapes and pads in int8; the space "
    "'mcu' (ReLU6, no squeeze-and-excite) has nothing else"
)


def bakenn() -> ModuleType:
    """The package. Raises ``ValueError`` with the pip line when it, or what it needs to read TFLite, is missing."""
    try:
        import bakenn as package
        import flatbuffers  # noqa: F401 - bakenn imports these two only when it reads a model
        import tflite  # noqa: F401
    except ImportError as error:
        raise missing("bakenn", "mcu") from error
    return package


def import_graph(model: bytes, *, name: str) -> Any:
    """bakenn's graph of an int8 TFLite model, with its pads folded into the convolutions that read them.

    Raises ``ValueError`` naming the operator, and its layer, for which there is no C.
    """
    package = bakenn()
    _refuse_unknown(model, name=name)
    try:
        graph = package.import_tflite(model, name="model")
    except package.BakeNNError as error:
        raise ValueError(f"{name} cannot become C: {error}; {_ADVICE}") from error
    return fold_pads(graph)


def fold_pads(graph: Any) -> Any:
    """The same graph, with every pad folded into the convolution that is its only reader.

    The convolution pads with the same value, the zero point of its input, so outputs are the same bytes.
    The padded copy of the map is never made.
    """
    from bakenn.ir import Pad2DOp
    from bakenn.ir.ops.conv import Conv2DOp, DepthwiseConv2DOp

    readers: dict[str, list[Any]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)

    values, ops, folded = dict(graph.values), [], {}
    for op in graph.ops:
        is_conv = isinstance(op, Conv2DOp | DepthwiseConv2DOp)
        if isinstance(op, Pad2DOp):
            # Folded only if one unpadded convolution reads it, and nothing else.
            reader, *others = readers.get(op.output, [None])
            unpadded_conv = isinstance(reader, Conv2DOp | DepthwiseConv2DOp) and not any(reader.padding)
            same_scale = graph.values[op.input].qparams == graph.values[op.output].qparams
            if unpadded_conv and same_scale and not others and op.output not in graph.outputs:
                folded[op.output] = op
                del values[op.output]
                continue
        elif is_conv and op.input in folded:
            pad = folded[op.input]
            op = replace(op, input=pad.input, padding=tuple(pad.padding))
        ops.append(_with_symmetric_padding(op, values) if is_conv else op)
    return replace(graph, values=values, ops=tuple(ops))


def _with_symmetric_padding(op: Any, values: Mapping[str, Any]) -> Any:
    """The convolution with as much padding below and right as above and left, if that leaves the output the same.

    CMSIS-NN has no other padding. Without it, a slow portable kernel would run (five times as many
    instructions).
    """
    top, bottom, left, right = op.padding
    _, height, width, _ = values[op.input].shape
    _, out_height, out_width, _ = values[op.output].shape
    shape = values[op.weight].shape  # (out, height, width, in), of a depthwise one (height, width, channels)
    kernel = shape[1:3] if len(shape) == 4 else shape[:2]

    # The output has the same size if the kernel never reaches the added rows and columns.
    padded = [(height + 2 * top, out_height), (width + 2 * left, out_width)]
    same_size = all(
        (size - dilation * (side - 1) - 1) // stride + 1 == out
        for (size, out), side, stride, dilation in zip(padded, kernel, op.stride, op.dilation, strict=True)
    )
    return replace(op, padding=(top, top, left, left)) if same_size and top >= bottom and left >= right else op


def _refuse_unknown(model: bytes, *, name: str) -> None:
    """Raises ``ValueError`` when the model is not int8, or naming an operator that bakenn does not have."""
    import tflite

    try:
        root = tflite.Model.GetRootAs(model, 0)
        graph = root.Subgraphs(0)
        operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
        codes = [root.OperatorCodes(operator.OpcodeIndex()).BuiltinCode() for operator in operators]
        kind = graph.Tensors(graph.Inputs(0)).Type()
    except Exception as error:  # on damaged bytes flatbuffers raises anything
        raise ValueError(f"{name} is no TFLite model: {error}") from error

    names = {value: key for key, value in vars(tflite.BuiltinOperator).items() if not key.startswith("_")}
    if kind != tflite.TensorType.INT8:
        raise ValueError(f"{name} is not int8; C needs int8 weights and activations: export it with int8_data")
    for operator, code in zip(operators, codes, strict=True):
        if names.get(code) not in KNOWN:
            layer = (graph.Tensors(operator.Outputs(0)).Name() or b"").decode(errors="replace")
            raise ValueError(f"{name}: no C is known for {names.get(code, code)} (layer {layer}); {_ADVICE}")
