"""int8 ONNX files by onnxruntime's quantizer: quantize and dequantize nodes (QDQ), static, weights per channel."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from ofa.export.quantize_ranges import Run, calibration_images, ranges
from ofa.export.runtimes.onnxruntime import session_options
from ofa.supernet.files import write_atomic

_CLAMPS = ("Relu", "Clip")


def quantize_onnx(source: Path, path: Path, batches: Iterable[np.ndarray], *, percentile: float = 100.0) -> Path:
    """Writes the int8 version of an ONNX file (from ``export_onnx``); returns ``path``.

    ``batches`` are normalised float32 images ``(n, channels, height, width)`` of the training data. Input and output
    stay float32 with any batch size, and the metadata stays. Activations are unsigned: on x86, signed ones run several
    times slower. ``percentile`` below 100 clips activations that few values reach (not the input, not the output).

    Raises ``ValueError`` naming the file when it is no ONNX model, and when there are no images, they do not fit the
    model, or ``percentile`` is out of range.
    """
    images = calibration_images(batches)
    try:
        model = onnx.load(source)
    except Exception as error:  # the parser's exceptions share no base class
        raise ValueError(f"{source} is no ONNX model: {error}") from error
    given, wanted = model.graph.input[0], model.graph.output[0]
    shape = tuple(size.dim_value for size in given.type.tensor_type.shape.dim[1:])
    if images.shape[1:] != shape:
        raise ValueError(f"calibration images are {images.shape[1:]} (channels, height, width); {source} takes {shape}")
    bounds = ranges(images, _activations(model), percentile=percentile, whole=[given.name, wanted.name])
    for node in model.graph.node:
        if node.op_type in _CLAMPS:  # the quantizer drops it: what is left clamps by its range
            bounds[node.input[0]] = bounds[node.output[0]]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends a preprocessing that torch's exporter has done
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "int8.onnx"
            quantize_static(
                source,
                target,
                _Reader(given.name, images[:1]),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={
                    "TensorQuantOverrides": {
                        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
                        for name, (low, high) in bounds.items()
                    }
                },
            )
            result = onnx.load(target)
    finally:
        logging.disable(level)
    del result.metadata_props[:]
    onnx.helper.set_model_props(result, metadata)
    write_atomic(path, result.SerializeToString())
    return Path(path)


class _Reader(CalibrationDataReader):
    """One image: onnxruntime wants to calibrate too, though the ranges are given."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        self._batches = iter([{name: images}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def _activations(model: onnx.ModelProto) -> Run:
    """``run(image)`` for ``ranges``: every float tensor that the graph computes, and its input."""
    graph = onnx.shape_inference.infer_shapes(model)
    given = graph.graph.input[0].name
    floats = {
        value.name
        for value in (*graph.graph.value_info, *graph.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    names = [name for node in graph.graph.node if node.op_type != "Constant" for name in node.output if name in floats]
    present = {value.name for value in graph.graph.output}
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        yield given, image
        yield from zip(names, session.run(names, {given: image}), strict=True)

    return run
