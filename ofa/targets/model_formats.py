"""The formats of model files: how each is written, in float32 and int8."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ofa.config.export import OnnxConfig, TfliteConfig
from ofa.export.microcontroller.patches import Patches
from ofa.export.runtimes import ModelFormat
from ofa.targets.deployment import Deployment
from ofa.targets.quantization_attempts import Attempts, onnx_attempts, tflite_attempts
from ofa.targets.quantization_aware import QuantizationAware


@dataclass(frozen=True)
class ExportSpec:
    """What a target's files are made of. ``model`` is in eval mode, on the CPU; ``metadata`` goes into every file.

    ``patches`` are those of a Cortex-M's program.
    ``training`` is how the network may be trained for int8, as the last remedy; None: it may not.
    """

    model: nn.Module
    folder: Path
    resolution: int
    metadata: dict[str, Any]
    int8_drop: float
    onnx: OnnxConfig = field(default_factory=OnnxConfig)
    tflite: TfliteConfig = field(default_factory=TfliteConfig)
    patches: Patches | None = None
    training: QuantizationAware | None = None


@dataclass(frozen=True)
class FileFormat:
    """How a model's file is written.

    Attributes:
        suffix: of the file; empty for PyTorch's weights, which a runtime loads by their folder.
        write: ``write(spec, path)`` writes the float32 file; ``None`` where the export has written it before.
        quantize: ``quantize(spec, path, images, options)`` writes the int8 file, calibrated on ``images``.
        attempts: the ways to quantise that are tried, ``options`` by name.
        kernels: options of ``fake_quantized``, for training a network as its int8 file computes.
        learns_ranges: whether ``quantize`` takes the ranges of activations that were trained.
    """

    suffix: str = ""
    write: Callable[[ExportSpec, Path], None] | None = None
    quantize: Callable[[ExportSpec, Path, list[np.ndarray], dict[str, Any]], None] | None = None
    attempts: Callable[[OnnxConfig], Attempts] = tflite_attempts
    kernels: Mapping[str, bool] = field(default_factory=dict)
    learns_ranges: bool = False


def _quantize_onnx(spec: ExportSpec, path: Path, images: list[np.ndarray], options: dict[str, Any]) -> None:
    from ofa.export.quantization.onnx import quantize_onnx

    # Not refused by its answers on calibration images: the accuracy on validation images says more.
    quantize_onnx(spec.folder / "model.onnx", path, images, check=False, **options)


def _write_tflite(spec: ExportSpec, path: Path, *, xnnpack: bool, **int8: Any) -> None:
    from ofa.export.tflite.export import export_tflite

    options = {"resolution": spec.resolution, "metadata": spec.metadata, "input_type": spec.tflite.input}
    export_tflite(spec.model, path, xnnpack=xnnpack, **options, **int8)


def _quantize_tflite(
    spec: ExportSpec, path: Path, images: list[np.ndarray], options: dict[str, Any], *, xnnpack: bool
) -> None:
    _write_tflite(spec, path, xnnpack=xnnpack, int8_data=images, int8_options=options, int8_check=False)


def _tflite(*, xnnpack: bool) -> FileFormat:
    return FileFormat(
        suffix=".tflite",
        write=partial(_write_tflite, xnnpack=xnnpack),
        quantize=partial(_quantize_tflite, xnnpack=xnnpack),
        kernels={"xnnpack": xnnpack, "reference": not xnnpack},
        learns_ranges=True,
    )


FORMATS: dict[ModelFormat, FileFormat] = {
    "timm": FileFormat(),
    "onnx": FileFormat(suffix=".onnx", quantize=_quantize_onnx, attempts=onnx_attempts, kernels={"xnnpack": False}),
    "tflite": _tflite(xnnpack=True),
    "tflite_micro": _tflite(xnnpack=False),
    "c": _tflite(xnnpack=False),  # the file that the C is made of
}


def format_of(deployment: Deployment) -> FileFormat:
    return FORMATS[deployment.spec.format]


def model_file(deployment: Deployment) -> str:
    """The file in ``models/TARGET/`` that its runtime runs."""
    suffix = format_of(deployment).suffix
    if not suffix:
        return "weights.safetensors"
    return f"model.int8{suffix}" if deployment.bits == 8 else f"model{suffix}"


def model_path(deployment: Deployment, folder: Path) -> Path:
    """What its runtime loads of ``models/TARGET/``: the file, or the folder of PyTorch's weights."""
    return folder / model_file(deployment) if format_of(deployment).suffix else folder


def open_session(deployment: Deployment, folder: Path, *, threads: int) -> Any:
    """The session of ``deployment.scorer`` over the model in ``folder``."""
    threads = threads if deployment.has_latency else 1
    return deployment.scorer.load(model_path(deployment, folder), threads=threads)
