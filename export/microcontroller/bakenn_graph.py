"""What bakenn, the compiler from int8 TFLite to C, reads of a model, and how the model is made smaller for it."""

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
    """The package, with what reads TFLite. Raises ``ValueError`` with the pip line when it is not there."""
    try:
        import bakenn as package
        import flatbuffers  # noqa: F401 - bakenn imports these two only while it reads
        import tflite  # noqa: F401
    except ImportError as error:
        raise missing("bakenn", "mcu") from error
    return package


def import_graph(model: bytes, *, name: str) -> Any:
    """bakenn's graph of an int8 TFLite model, its pads folded into the convolutions that follow them.

    Raises ``ValueError`` naming the operator, and its layer, that C cannot be written for.
    """
    package = bakenn()
    _refuse_unknown(model, name=name)
    try:
        graph = package.import_tflite(model, name="model")
    except package.BakeNNError as error:
        raise ValueError(f"{name} cannot become C: {error}; {_ADVICE}") from error
    return fold_pads(graph)


def fold_pads(graph: Any) -> Any:
    """The same graph with every pad inside the convolution that alone reads it.

    A padded value is the input's zero point, as the convolution's own padding is: the outputs are the same bytes, and
    the padded copy of the map, larger than the map itself, is never made.
    """
    from bakenn.ir import Pad2DOp
    from bakenn.ir.ops.conv import Conv2DOp, DepthwiseConv2DOp

    readers: dict[str, list[Any]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    values, ops, folded = dict(graph.values), [], {}
    for op in graph.ops:
        convolution = isinstance(op, Conv2DOp | DepthwiseConv2DOp)
        if isinstance(op, Pad2DOp):
            (follower, *others) = readers.get(op.output, [None])
            plain = isinstance(follower, Conv2DOp | DepthwiseConv2DOp) and not any(follower.padding)
            at_zero = graph.values[op.input].qparams == graph.values[op.output].qparams
            if plain and at_zero and not others and op.output not in graph.outputs:
                folded[op.output] = op
                del values[op.output]
                continue
        elif convolution and op.input in folded:
            pad = folded[op.input]
            op = replace(op, input=pad.input, padding=tuple(pad.padding))
        ops.append(_symmetric(op, values) if convolution else op)
    return replace(graph, values=values, ops=tuple(ops))


def _symmetric(op: Any, values: Mapping[str, Any]) -> Any:
    """The convolution with as much padding below as above, where its kernel never reaches the rows that this adds.

    CMSIS-NN has no other padding; without it, a slow portable kernel would run (five times as many instructions).
    """
    top, bottom, left, right = op.padding
    _, height, width, _ = values[op.input].shape
    _, out_height, out_width, _ = values[op.output].shape
    kernel = _kernel(op, values)
    padded = [(height + 2 * top, out_height), (width + 2 * left, out_width)]
    same = all(
        (size - dilation * (side - 1) - 1) // stride + 1 == out
        for (size, out), side, stride, dilation in zip(padded, kernel, op.stride, op.dilation, strict=True)
    )
    return replace(op, padding=(top, top, left, left)) if same and top >= bottom and left >= right else op


def _kernel(op: Any, values: Mapping[str, Any]) -> tuple[int, int]:
    shape = values[op.weight].shape  # (out, height, width, in), of a depthwise one (height, width, channels)
    return tuple(shape[1:3]) if len(shape) == 4 else tuple(shape[:2])


def _refuse_unknown(model: bytes, *, name: str) -> None:
    import tflite

    try:
        read = tflite.Model.GetRootAs(model, 0)
        graph = read.Subgraphs(0)
        operators = [graph.Operators(number) for number in range(graph.OperatorsLength())]
        codes = [read.OperatorCodes(operator.OpcodeIndex()).BuiltinCode() for operator in operators]
        kind = graph.Tensors(graph.Inputs(0)).Type()
    except Exception as error:  # of damaged bytes flatbuffers raises anything
        raise ValueError(f"{name} is no TFLite model: {error}") from error
    names = {value: key for key, value in vars(tflite.BuiltinOperator).items() if not key.startswith("_")}
    if kind != tflite.TensorType.INT8:
        raise ValueError(f"{name} is not int8; C needs int8 weights and activations: export it with int8_data")
    for operator, code in zip(operators, codes, strict=True):
        if names.get(code) not in KNOWN:
            layer = (graph.Tensors(operator.Outputs(0)).Name() or b"").decode(errors="replace")
            raise ValueError(f"{name}: no C is known for {names.get(code, code)} (layer {layer}); {_ADVICE}")
