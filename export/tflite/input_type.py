"""The input of a TFLite file: normalised values, or pixels that the network normalises itself.

MediaPipe accepts float32 or uint8 only. For normalised values it knows one mean and one standard deviation
for all channels; for pixels it needs none.
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
NORMALISED = "normalise"  # the tensor of normalised pixels
_KINDS = {"float32": schema.TensorType.FLOAT32, "uint8": schema.TensorType.UINT8}
_CODES = schema.BuiltinOperator


def with_normalisation(graph: onnx.ModelProto, normalisation: Normalisation) -> onnx.ModelProto:
    """The same network with pixels in 0..255 as input, normalised by a depthwise 1x1 convolution.

    It is not folded into the first convolution. That one pads with zeros, which mean the average pixel, not
    black.
    """
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    pixels_name = result.graph.input[0].name
    channels = result.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    mean, std = (np.broadcast_to(np.array(part), channels) for part in normalisation)

    # All readers of the input read the normalised pixels now.
    normalised_name = f"{pixels_name}.normalised"
    for node in result.graph.node:
        node.input[:] = [normalised_name if name == pixels_name else name for name in node.input]

    # (pixel / 255 - mean) / std, as weight and bias of a channel.
    weights = {"weight": (1 / (255 * std)).reshape(-1, 1, 1, 1), "bias": -mean / std}
    for name, array in weights.items():
        result.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), f"normalise.{name}"))
    node = helper.make_node(
        "Conv",
        [pixels_name, *(f"normalise.{name}" for name in weights)],
        [normalised_name],
        name=NORMALISED,
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
    """The pixels of normalised images ``(n, channels, height, width)``, as float32 of 0..255."""
    mean, std = (np.array(channel_values).reshape(-1, 1, 1) for channel_values in normalisation)
    return np.clip(np.rint(255 * (images * std + mean)), *PIXELS).astype(np.float32)


def with_input(content: bytes, kind: str) -> bytes:
    """The TFLite file with an input of type ``kind`` and a float32 output, converted where the network is int8.

    ``uint8`` is for networks whose input is pixels (``with_normalisation``). An int8 network then has an
    input of scale 1.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    images, logits = int(graph.inputs[0]), int(graph.outputs[0])

    # An operator in front converts the new input to the old one.
    inner_type = graph.tensors[images].type
    if inner_type != _KINDS[kind]:
        quantization = None
        if kind == "uint8":
            quantization = schema.QuantizationParametersT()
            quantization.scale, quantization.zeroPoint = [1.0], [0]
        outer = _tensor_like(graph, images, _KINDS[kind], quantization)
        code = _CODES.DEQUANTIZE if inner_type == schema.TensorType.FLOAT32 else _CODES.QUANTIZE
        version = 1 if kind == "float32" or inner_type == schema.TensorType.FLOAT32 else 2
        graph.operators.insert(0, _operator(model, code, version, outer, images))
        graph.inputs = [outer]
        _replace_end(model, images, outer, model.signatureDefs[0].inputs)

    # Another one behind makes an int8 output float32.
    if graph.tensors[logits].type == schema.TensorType.INT8:
        outer = _tensor_like(graph, logits, schema.TensorType.FLOAT32, None)
        graph.operators.append(_operator(model, _CODES.DEQUANTIZE, 2, logits, outer))
        graph.outputs = [outer]
        _replace_end(model, logits, outer, model.signatureDefs[0].outputs)

    # The stored memory plan lists every tensor and is wrong now; a runtime makes its own.
    model.metadata = [entry for entry in model.metadata or [] if text(entry.name) != PLAN]
    return pack(model)


def _tensor_like(graph: Any, index: int, kind: int, quantization: Any) -> int:
    """Adds a tensor of the shape of tensor ``index``; returns its index."""
    model_tensor, tensor = graph.tensors[index], schema.TensorT()
    tensor.shape, tensor.shapeSignature, tensor.buffer = model_tensor.shape, model_tensor.shapeSignature, 0
    tensor.type, tensor.quantization = kind, quantization
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _replace_end(model: Any, inner: int, outer: int, entries: Any) -> None:
    """Makes tensor ``outer`` the network's input or output: it gets the name and the signature's entry of ``inner``."""
    tensors = model.subgraphs[0].tensors
    tensors[outer].name = text(tensors[inner].name)
    tensors[inner].name = f"{text(tensors[inner].name)}/inner"
    entries[0].tensorIndex = outer


def _operator(model: Any, code: int, version: int, input_tensor: int, output_tensor: int) -> Any:
    entry = schema.OperatorCodeT()
    entry.deprecatedBuiltinCode, entry.builtinCode, entry.version = code, code, version
    model.operatorCodes.append(entry)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [input_tensor], [output_tensor]
    name = "Quantize" if code == _CODES.QUANTIZE else "Dequantize"
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
    operator.builtinOptions = getattr(schema, f"{name}OptionsT")()
    return operator
