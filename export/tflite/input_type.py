"""What a TFLite file takes for an image: normalised values, or pixels that the network normalises itself.

MediaPipe takes float32 or uint8 alone, and of normalised values it knows one mean and one standard deviation for all
channels; pixels need none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ofa.export.quantization.plan import PLAN
from ofa.export.tflite.flatbuffer import pack, schema, text, unpack
from ofa.supernet.image_batches import Normalisation

PIXELS = (0.0, 255.0)
_KINDS = {"float32": schema.TensorType.FLOAT32, "uint8": schema.TensorType.UINT8}
_ENDS = schema.BuiltinOperator


def with_normalisation(graph: onnx.ModelProto, normalisation: Normalisation) -> onnx.ModelProto:
    """The same network with pixels in 0..255 as input, normalised by a 1x1 convolution of each channel.

    Not folded into the first convolution, which pads with zeros: those are the mean of pixels, not black.
    """
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    given = result.graph.input[0].name
    channels = result.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    mean, std = (np.broadcast_to(np.array(part), channels) for part in normalisation)
    inside = f"{given}.normalised"
    for node in result.graph.node:
        node.input[:] = [inside if name == given else name for name in node.input]
    weights = {"weight": (1 / (255 * std)).reshape(-1, 1, 1, 1), "bias": -mean / std}
    for name, values in weights.items():
        result.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), f"normalise.{name}"))
    node = helper.make_node(
        "Conv",
        [given, *(f"normalise.{name}" for name in weights)],
        [inside],
        name="normalise",
        kernel_shape=[1, 1],
        strides=[1, 1],
        pads=[0, 0, 0, 0],
        dilations=[1, 1],
        group=channels,
    )
    nodes = [node, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def pixels(images: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Normalised images ``(n, channels, height, width)`` as the pixels that they were, float32 of 0..255."""
    mean, std = (np.array(part).reshape(-1, 1, 1) for part in normalisation)
    return np.clip(np.rint(255 * (images * std + mean)), *PIXELS).astype(np.float32)


def with_input(content: bytes, kind: str) -> bytes:
    """The TFLite file with an input of type ``kind`` and a float32 output, converted where the network is int8.

    ``uint8`` is for networks whose input is pixels (``with_normalisation``); int8 ones then have an input of scale 1.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    given, wanted = int(graph.inputs[0]), int(graph.outputs[0])
    inner = graph.tensors[given].type
    if inner != _KINDS[kind]:
        quantization = _steps_of_one() if kind == "uint8" else None
        outer = _like(graph, given, _KINDS[kind], quantization)
        first = _ENDS.DEQUANTIZE if inner == schema.TensorType.FLOAT32 else _ENDS.QUANTIZE
        version = 1 if kind == "float32" or inner == schema.TensorType.FLOAT32 else 2
        graph.operators.insert(0, _operator(model, first, version, given=outer, wanted=given))
        graph.inputs = [outer]
        _rename(model, given, outer, model.signatureDefs[0].inputs)
    if graph.tensors[wanted].type == schema.TensorType.INT8:
        outer = _like(graph, wanted, schema.TensorType.FLOAT32, None)
        graph.operators.append(_operator(model, _ENDS.DEQUANTIZE, 2, given=wanted, wanted=outer))
        graph.outputs = [outer]
        _rename(model, wanted, outer, model.signatureDefs[0].outputs)
    # The plan of memory names every tensor; a runtime makes its own.
    model.metadata = [entry for entry in model.metadata or [] if text(entry.name) != PLAN]
    return pack(model)


def _like(graph: Any, index: int, kind: int, quantization: Any) -> int:
    """A new tensor of the shape of tensor ``index``; returns its index."""
    other, tensor = graph.tensors[index], schema.TensorT()
    tensor.shape, tensor.shapeSignature, tensor.buffer = other.shape, other.shapeSignature, 0
    tensor.type, tensor.quantization = kind, quantization
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _rename(model: Any, inner: int, outer: int, entries: Any) -> None:
    """Gives the name of an end of the network, and its place in the signature, to the tensor that is the end now."""
    tensors = model.subgraphs[0].tensors
    tensors[outer].name = text(tensors[inner].name)
    tensors[inner].name = f"{text(tensors[inner].name)}/inner"
    entries[0].tensorIndex = outer


def _steps_of_one() -> Any:
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [1.0], [0]
    return quantization


def _operator(model: Any, code: int, version: int, *, given: int, wanted: int) -> Any:
    entry = schema.OperatorCodeT()
    entry.deprecatedBuiltinCode, entry.builtinCode, entry.version = code, code, version
    model.operatorCodes.append(entry)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [given], [wanted]
    name = "Quantize" if code == _ENDS.QUANTIZE else "Dequantize"
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
    operator.builtinOptions = getattr(schema, f"{name}OptionsT")()
    return operator
