"""int8 ONNX files by onnxruntime's quantizer: quantize and dequantize nodes (QDQ), static, weights per channel."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from ofa.export.formats import INT8_OPSET
from ofa.export.onnx_opset import raise_opset
from ofa.export.onnx_session import session_options
from ofa.export.quantization.calibration_data import refuse_collapse
from ofa.export.quantization.ranges import Run, calibration_images, ranges
from ofa.supernet.files import write_atomic
from ofa.supernet.image_batches import Normalisation

_CLAMPS = ("Relu", "Clip")
WEIGHTS: dict[str, dict[str, Any]] = {
    "signed": {"weight_type": QuantType.QInt8},
    "reduced": {"weight_type": QuantType.QInt8, "reduce_range": True},
    "unsigned": {"weight_type": QuantType.QUInt8},
}
# The settings of onnxruntime's own example for TensorRT, which supports no zero points and no int32 biases,
# and expects a quantize and a dequantize node at each weight.
_SYMMETRIC = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "AddQDQPairToWeight": True,
}


def quantize_onnx(
    source: Path,
    path: Path,
    batches: Any,
    *,
    percentile: float = 100.0,
    weights: str = "signed",
    symmetric: bool = False,
    check: bool = True,
) -> Path:
    """Writes the int8 version of an ONNX file (from ``export_onnx``); returns ``path``.

    ``batches`` are normalised images ``(n, channels, height, width)`` of the training data (see
    ``image_batches``). Input and output stay float32 with the batch size of ``source``. The metadata stays,
    too. Activations are unsigned: on x86, signed ones run several times slower.

    Args:
        percentile: below 100, the largest and smallest activations are clipped, but not those of input and
            output.
        weights: one of ``WEIGHTS``. On x86 without VNNI, ONNX Runtime's products of unsigned and ``signed``
            values saturate at 16 bits; those of ``reduced`` (seven bits) and of ``unsigned`` weights do
            not.
        symmetric: for TensorRT: activations and weights are signed with zero point 0, biases are float, and
            each weight is float before its quantize node.
        check: whether to refuse an int8 network whose outputs on those images have little to do with those
            of ``source``.

    Raises ``ValueError`` naming the file when it is no ONNX model; when the images do not fit the model or
    cannot be normalised ones; when ``percentile`` or ``weights`` is out of range; and ``Collapse`` when
    ``check`` fails.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights is {weights!r}; it must be one of {', '.join(WEIGHTS)}")
    if symmetric and weights == "unsigned":
        raise ValueError("weights is 'unsigned'; with symmetric=True weights are signed (or reduced)")
    try:
        model = onnx.load(source)
    except Exception as error:  # the parser's exceptions share no base class
        raise ValueError(f"{source} is no ONNX model: {error}") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    graph_input, graph_output = model.graph.input[0], model.graph.output[0]
    shape = tuple(size.dim_value for size in graph_input.type.tensor_type.shape.dim[1:])
    images = calibration_images(batches, shape=shape, normalisation=_normalisation(metadata))

    raise_opset(model, INT8_OPSET)
    bounds = ranges(images, _activations(model), percentile=percentile, whole=[graph_input.name, graph_output.name])
    # The quantizer drops asymmetric clamps: their input then has to be clamped by its range.
    if not symmetric:
        for node in model.graph.node:
            if node.op_type in _CLAMPS:
                bounds[node.input[0]] = bounds[node.output[0]]
    result = _quantised(model, bounds, images[:1], weights=weights, symmetric=symmetric)

    # The quantizer adds entries of its own.
    del result.metadata_props[:]
    onnx.helper.set_model_props(result, metadata)
    content = result.SerializeToString()
    if check:
        refuse_collapse(_logits(model), _logits(result), images)
    write_atomic(path, content)
    return Path(path)


def _quantised(
    model: onnx.ModelProto,
    bounds: Mapping[str, tuple[float, float]],
    image: np.ndarray,
    *,
    weights: str,
    symmetric: bool,
) -> onnx.ModelProto:
    overrides = {name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in bounds.items()}
    # It warns that the model was not preprocessed, which torch's exporter has done.
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
            source.write_bytes(model.SerializeToString())
            quantize_static(
                source,
                target,
                _Reader(model.graph.input[0].name, _fill_batch(image, model)),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                extra_options={"TensorQuantOverrides": overrides, **(_SYMMETRIC if symmetric else {})},
                **WEIGHTS[weights],
            )
            return onnx.load(target)
    finally:
        logging.disable(level)


def _logits(model: onnx.ModelProto) -> Callable[[np.ndarray], np.ndarray]:
    session, name = _session(model), model.graph.input[0].name

    def run(image: np.ndarray) -> np.ndarray:
        return session.run(None, {name: _fill_batch(image, model)})[0][:1]

    return lambda images: np.concatenate([run(images[index : index + 1]) for index in range(len(images))])


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session without optimisations, which gives the same numbers on every processor."""
    options = session_options(optimise=False)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _normalisation(metadata: Mapping[str, str]) -> Normalisation | None:
    try:
        return Normalisation.known({key: json.loads(metadata[key]) for key in ("mean", "std") if key in metadata})
    except (ValueError, TypeError):
        return None  # metadata of another program


def _fill_batch(images: np.ndarray, model: onnx.ModelProto) -> np.ndarray:
    """``images``, repeated to the batch size of the model."""
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    return np.resize(images, (batch or len(images), *images.shape[1:]))


class _Reader(CalibrationDataReader):
    """Gives one image: onnxruntime calibrates in any case, though all ranges are overridden."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        self._batches = iter([{name: images}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def _activations(model: onnx.ModelProto) -> Run:
    """``run(image)`` for ``ranges``: the model's input and every float tensor that it computes."""
    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    input_name = graph.input[0].name

    # Every float tensor becomes an output of the model.
    floats = {
        info.name
        for info in (*graph.value_info, *graph.output)
        if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    names = [name for node in graph.node if node.op_type != "Constant" for name in node.output if name in floats]
    present = {info.name for info in graph.output}
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    session = _session(model)

    def run(image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        yield input_name, image
        yield from zip(names, session.run(names, {input_name: _fill_batch(image, model)}), strict=True)

    return run
