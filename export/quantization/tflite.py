"""int8 networks: full-integer TFLite by ai-edge-quantizer, from a float32 file and calibration images."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from typing import Any

import numpy as np

from ofa.export.extras import missing
from ofa.export.quantization.activations import Activations
from ofa.export.quantization.bias import correct
from ofa.export.quantization.equalize import equalize_channels
from ofa.export.quantization.float_operators import float_operators
from ofa.export.quantization.plan import store_plan
from ofa.export.quantization.ranges import calibration_images, ranges
from ofa.export.quantization.small_weights import with_room_for_biases
from ofa.export.quantization.sums import with_near_ranges
from ofa.export.tflite.flatbuffer import pack, schema, text, unpack
from ofa.supernet.image_batches import Normalisation

try:
    from ai_edge_quantizer import qtyping, quantizer
except ImportError as error:
    raise missing("ai-edge-quantizer", "tflite") from error

_CODES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
# The first version of each operator that supports int8; operators that are not listed support it since
# version 1.
_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "GELU": 2,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MIRROR_PAD": 2,
    "MUL": 2,
    "PAD": 2,
    "PADV2": 2,
    "RELU": 2,
    "RELU6": 2,
    "SLICE": 2,
    "TRANSPOSE": 2,
}


def quantize_tflite(
    model: bytes,
    batches: Any,
    *,
    normalisation: Normalisation | None = None,
    input_range: tuple[float, float] | None = None,
    percentile: float = 100.0,
    equalize: bool = False,
    correct_bias: bool = False,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> bytes:
    """The int8 TFLite file of a float32 one (from ``tflite_bytes``), with int8 input and output.

    Weights have a scale per channel, except the classifier's, which have one: TFLite before 2.10 and
    TensorFlow Lite Micro before 2024 read only the first scale of a FULLY_CONNECTED, and compute garbage
    without an error. Same input, same bytes. The file holds a memory plan for TensorFlow Lite Micro (see
    ``quantization.plan``).

    Norms over channels stay in float32, between a dequantize and a quantize (see
    ``quantization.float_operators``).

    Args:
        batches: normalised images ``(n, channels, height, width)`` of the training data (see
            ``image_batches``), on which the ranges of activations are measured.
        normalisation: that of the model's images, if known.
        input_range: the range of the input, where it is not that of the images.
        bounds: ranges of tensors by name, instead of those on the images: what they were trained with (see
            ``quantization.fake``).

    These raise the accuracy of networks that lose some in int8:

        percentile: below 100, the largest and smallest activations are clipped, but not those of input and
        output. equalize: gives the channels of a tensor similar ranges first (see
        ``quantization.equalize``). correct_bias: moves each channel's mean error on the images into its
        bias (see ``quantization.bias``).

    Raises ``ValueError`` when the model is no float32 TFLite file, when there are no images or they do not
    fit it, or when ``percentile`` is out of range.
    """
    run = Activations(model)
    if run.quantized:
        raise ValueError("the TFLite model is int8 already; quantize the float32 file that it was made from")
    images = calibration_images(batches, shape=run.shape, normalisation=normalisation)
    if equalize:
        model = equalize_channels(model, images)
        run = Activations(model)

    # Input and output keep their whole range: clipped, they would lose extreme pixels and the winning logits.
    measured = ranges(images, lambda image: run(image).items(), percentile=percentile, whole=run.ends)
    if input_range is not None:
        measured[run.ends[0]] = input_range
    used = with_near_ranges(run.model, {**measured, **(bounds or {})})
    model = with_room_for_biases(model, used)
    result = unpack(quantized_model(model, run.model, used))  # moves large weights into the flatbuffer

    # By the version of an operator, an old runtime sees whether it supports int8.
    for code in result.operatorCodes:
        code.version = max(code.version, _VERSIONS.get(_CODES[code.builtinCode], 1))
    if correct_bias:
        correct(result, model, images)
    store_plan(result, schema)
    return pack(result)


def quantized_model(content: bytes, model: Any, bounds: Mapping[str, tuple[float, float]]) -> bytes:
    """The int8 file with these bounds of activations. The quantizer's own are moving averages, which clip."""
    engine = quantizer.Quantizer(bytearray(content))
    engine.add_static_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    engine.add_static_config(
        ".*",
        qtyping.TFLOperationName.FULLY_CONNECTED,
        activation_num_bits=8,
        weight_num_bits=8,
        weight_granularity=qtyping.QuantGranularity.TENSORWISE,
    )
    names = float_operators(model)
    if names:
        scopes = "|".join(re.escape(name) for name in names)
        every = qtyping.TFLOperationName.ALL_SUPPORTED
        engine.update_quantization_recipe(f"^({scopes});?$", every, algorithm_key="no_quantize")

    statistics = {}
    for tensor in model.subgraphs[0].tensors:
        name = text(tensor.name)
        if name in bounds:
            shape = (1,) * len(tensor.shape)
            low, high = bounds[name]
            statistics[name] = {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}

    # Some of its progress bars cannot be switched off, and it warns of memory that these models hardly need.
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = engine.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)
