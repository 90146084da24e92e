"""int8 networks: full-integer TFLite by ai-edge-quantizer, from a float32 file and calibration images."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from typing import Any

import numpy as np

from ofa.export.extras import missing
from ofa.export.quantization.activations import Activations
from ofa.export.quantization.bias import correct
from ofa.export.quantization.equalize import equalize
from ofa.export.quantization.plan import store_plan
from ofa.export.quantization.ranges import calibration_images, ranges
from ofa.export.tflite.flatbuffer import pack, schema, text, unpack
from ofa.supernet.image_batches import Normalisation

try:
    from ai_edge_quantizer import qtyping, quantizer
except ImportError as error:
    raise missing("ai-edge-quantizer", "tflite") from error

_CODES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
# The first version of each operator that has int8; of the others it is the first of all.
_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "LOGISTIC": 2,
    "MUL": 2,
    "PAD": 2,
    "RELU": 2,
    "RELU6": 2,
}


def quantize_tflite(
    model: bytes,
    batches: Any,
    *,
    normalisation: Normalisation | None = None,
    input_range: tuple[float, float] | None = None,
    percentile: float = 100.0,
    even: bool = False,
    correct_bias: bool = False,
) -> bytes:
    """The int8 TFLite file of a float32 one (from ``tflite_bytes``): input and output too.

    Weights have a scale per channel, but the classifier's one for all: TFLite before 2.10 and TensorFlow Lite Micro
    before 2024 read one scale of a FULLY_CONNECTED whatever is there, and compute garbage without an error.

    ``batches`` are normalised images ``(n, channels, height, width)`` of the training data (see ``image_batches``); the
    ranges of activations are those seen on them. ``normalisation`` is how the model's images are made, if known;
    ``input_range`` that of the input, where it is not what the images show. Same input, same bytes. The file holds a
    memory plan for TensorFlow Lite Micro (see ``quantization.plan``).

    Remedies when accuracy drops: ``percentile`` below 100 clips activations that few values reach (input and output
    keep their whole range); ``even`` brings the channels of a tensor to like ranges first (see ``quantize_equalize``);
    ``correct_bias`` moves each channel's mean error on the images into its bias (see ``quantize_bias``).

    Raises ``ValueError`` when the model is no float32 TFLite file, when there are no images or they do not fit it, or
    when ``percentile`` is out of range.
    """
    run = Activations(model)
    if run.quantized:
        raise ValueError("the TFLite model is int8 already; quantize the float32 file that it was made from")
    images = calibration_images(batches, shape=run.shape, normalisation=normalisation)
    if even:
        model = equalize(model, images)
        run = Activations(model)
    found = ranges(images, lambda image: run(image).items(), percentile=percentile, whole=run.ends)
    if input_range is not None:
        found[run.ends[0]] = input_range
    result = unpack(_quantized(model, run.model, found))  # its large weights lie behind the flatbuffer: now inside
    for code in result.operatorCodes:
        code.version = max(code.version, _VERSIONS.get(_CODES[code.builtinCode], 1))
    if correct_bias:
        correct(result, model, images)
    store_plan(result, schema)
    return pack(result)


def _quantized(content: bytes, model: Any, found: Mapping[str, tuple[float, float]]) -> bytes:
    """With the ranges ``found``; the quantizer's own calibration follows a moving average, which clips."""
    work = quantizer.Quantizer(bytearray(content))
    work.add_static_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    work.add_static_config(
        ".*",
        qtyping.TFLOperationName.FULLY_CONNECTED,
        activation_num_bits=8,
        weight_num_bits=8,
        weight_granularity=qtyping.QuantGranularity.TENSORWISE,
    )
    bounds = {}
    for tensor in model.subgraphs[0].tensors:
        name = text(tensor.name)
        if name in found:
            shape = (1,) * len(tensor.shape)
            bounds[name] = {
                key: np.full(shape, value, np.float32) for key, value in zip(("min", "max"), found[name], strict=True)
            }
    # Its progress bars cannot all be switched off, and it warns of memory that these models hardly need.
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = work.quantize(bounds, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)
