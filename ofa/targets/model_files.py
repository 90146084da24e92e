"""A target's model files: written, checked against the torch model, and scored in the runtime that will run them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from tqdm import tqdm

from ofa.config.export import OnnxConfig, TfliteConfig
from ofa.config.target import CORTEX_M
from ofa.export.onnx import export_onnx
from ofa.export.runtimes import onnxruntime
from ofa.export.verify import VerificationError, check_tolerance, compare
from ofa.predictors.costs.microcontroller import tables as microcontroller
from ofa.predictors.metrics import top1
from ofa.supernet.files import read_json, write_atomic
from ofa.targets.deployment import Deployment
from ofa.targets.quantization_attempts import quantised, remedies

if TYPE_CHECKING:
    from ofa.pipeline.job import Job

VERIFY_IMAGES = 256
# Keys of ``figures.json`` by the name of the cost.
_FIGURES = {"ram_bytes": "sram", "flash_bytes": "flash"}
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ExportSpec:
    """What a target's files are made of. ``model`` is in eval mode, on the CPU; ``metadata`` goes into every file."""

    model: nn.Module
    folder: Path
    resolution: int
    metadata: dict[str, Any]
    int8_drop: float
    onnx: OnnxConfig = field(default_factory=OnnxConfig)
    tflite: TfliteConfig = field(default_factory=TfliteConfig)


def model_file(device: Deployment) -> str:
    """The file in ``models/TARGET/`` that the device runs."""
    if device.runtime == "torch":
        return "weights.safetensors"
    return f"model.int8.{_format(device)}" if device.bits == 8 else f"model.{_format(device)}"


def open_session(device: Deployment, folder: Path, *, threads: int) -> Any:
    """The session of ``device.scorer`` over the model in ``folder``."""
    return device.scorer.load(model_path(device, folder), threads=threads if device.has_latency else 1)


def model_path(device: Deployment, folder: Path) -> Path:
    """What the device's runtime loads of ``models/TARGET/``."""
    return folder if device.runtime == "torch" else folder / model_file(device)


def write_models(job: Job, device: Deployment, wanted: ExportSpec) -> tuple[list[Path], dict[str, Any]]:
    """Writes ``model.onnx`` and the device's own file; returns the files and what ``verify.json`` says.

    float32 files must agree with torch on validation images, or ``VerificationError`` is raised. int8 files are scored
    on the whole validation split, and made anew in other ways while they lose more than the target's ``int8_drop``.
    """
    threads = job.recipe.measure.threads
    onnx = export_onnx(
        wanted.model,
        wanted.folder / "model.onnx",
        resolution=wanted.resolution,
        metadata=wanted.metadata,
        opset=wanted.onnx.opset,
        batch=wanted.onnx.batch,
    )
    reference = onnxruntime.load(onnx, threads=threads)
    result = _verified(job, wanted, onnx, lambda images: onnxruntime.run(reference, images))
    path = wanted.folder / model_file(device)
    if device.bits == 8:
        before = _score(job, wanted, lambda images: onnxruntime.run(reference, images))
        result |= {"validation_accuracy_float32": before, **_quantised(job, device, wanted, path, before)}
    else:
        if device.runtime == "litert":
            _write_tflite(device, wanted, path)
        session = open_session(device, wanted.folder, threads=threads)

        def run(images: np.ndarray) -> np.ndarray:
            return device.module.run(session, images)

        if device.runtime == "litert":
            result = _verified(job, wanted, path, run)
        result["validation_accuracy"] = _score(job, wanted, run)
    result |= {"file": path.name, "bytes": path.stat().st_size}
    if wanted.tflite.input:
        result["input_type"] = wanted.tflite.input
    if device.has_latency and sys.platform == "linux":
        shape = (1, wanted.model.in_chans, wanted.resolution, wanted.resolution)
        result["resident_bytes"] = device.module.memory(model_path(device, wanted.folder), shape, threads=threads)
    files = [onnx, path]
    if device.runtime in CORTEX_M:
        written, result["program"] = _c(job, device, wanted, path)
        files += written
    elif not device.has_latency:
        result["program"] = microcontroller.costs_of_model(device.module, path.read_bytes())
    return list(dict.fromkeys(files)), result


def _c(job: Job, device: Deployment, wanted: ExportSpec, path: Path) -> tuple[list[Path], dict[str, Any]]:
    """Writes the folder ``c``, and what its program for the device takes."""
    from ofa.export.microcontroller.export import MAX_EXAMPLES, export_c
    from ofa.export.microcontroller.names import distinct

    batches = job.images("validation", wanted.resolution, limit=MAX_EXAMPLES)
    images = np.concatenate([images.cpu().numpy() for images, _ in batches])
    folder = wanted.folder / "c"
    name = distinct(wanted.folder.name, list(job.recipe.targets))
    files = export_c(path, folder, images=images, name=name, metadata=wanted.metadata, notice=tqdm.write)
    figures = {"name": name, **read_json(folder / "figures.json")["cpus"][device.runtime]}
    if figures.get("different_bytes"):
        raise VerificationError(
            f"{folder}: the program gives {figures['different_bytes']} bytes of {figures['images']} outputs that "
            "TensorFlow Lite Micro does not; do not use it, report it with its versions"
        )
    figures |= {to: figures[key] for key, to in _FIGURES.items() if key in figures}
    return files, figures


def _verified(job: Job, wanted: ExportSpec, path: Path, run: Run) -> dict[str, Any]:
    images = (images.cpu() for images, _ in job.images("validation", wanted.resolution, limit=VERIFY_IMAGES))
    result = compare(wanted.model, run, images)
    check_tolerance(path, result)
    return result


def _score(job: Job, wanted: ExportSpec, run: Run) -> float:
    return top1(lambda images: run(images.cpu().numpy()), job.images("validation", wanted.resolution))


def _quantised(job: Job, device: Deployment, wanted: ExportSpec, path: Path, before: float) -> dict[str, Any]:
    """Writes the int8 file of the first way that keeps the accuracy ``before``, or of the best."""
    limit = job.recipe.collect.calibration_images
    images = [batch.cpu().numpy() for batch, _ in job.images("train", wanted.resolution, limit=limit)]

    def write(way: dict[str, Any]) -> bytes:
        _QUANTISE[_format(device)](device, wanted, path, images, way)
        return path.read_bytes()

    content, result = quantised(
        device,
        remedies(device, wanted.onnx),
        write=write,
        score=lambda run: _score(job, wanted, run),
        before=before,
        allowed_drop=wanted.int8_drop,
        threads=job.recipe.measure.threads,
    )
    write_atomic(path, content)
    counts = {"calibration_images": sum(map(len, images)), "calibration_images_asked": limit}
    return {**result, "int8": {**counts, **result["int8"]}}


# Not refused by their answers on calibration images: the accuracy on validation images says more.
def _quantise_onnx(
    _device: Deployment, wanted: ExportSpec, path: Path, images: list[np.ndarray], way: dict[str, Any]
) -> None:
    from ofa.export.quantization.onnx import quantize_onnx

    quantize_onnx(wanted.folder / "model.onnx", path, images, check=False, **way)


def _quantise_tflite(
    device: Deployment, wanted: ExportSpec, path: Path, images: list[np.ndarray], way: dict[str, Any]
) -> None:
    _write_tflite(device, wanted, path, int8_data=images, int8_options=way, int8_check=False)


_QUANTISE = {"onnx": _quantise_onnx, "tflite": _quantise_tflite}


def _write_tflite(device: Deployment, wanted: ExportSpec, path: Path, **int8: Any) -> None:
    from ofa.export.tflite.export import export_tflite

    options = {"resolution": wanted.resolution, "metadata": wanted.metadata, "xnnpack": device.runtime == "litert"}
    options["input_type"] = wanted.tflite.input
    export_tflite(wanted.model, path, **options, **int8)


def _format(device: Deployment) -> str:
    return "onnx" if device.runtime == "onnxruntime" else "tflite"
