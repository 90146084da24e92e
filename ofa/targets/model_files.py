"""A target's model files: written, checked against the torch model, and scored in the runtime that will run them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from tqdm import tqdm

from ofa.export.onnx import export_onnx
from ofa.export.runtimes import onnxruntime
from ofa.export.verify import VerificationError, check_tolerance, compare
from ofa.predictors.costs.microcontroller import tables as microcontroller
from ofa.predictors.costs.names import COSTS
from ofa.predictors.metrics import top1
from ofa.supernet.files import read_json, write_atomic
from ofa.targets.deployment import Deployment
from ofa.targets.model_formats import ExportSpec, format_of, model_file, model_path, open_session
from ofa.targets.quantization_attempts import Run, quantize_within

VERIFY_IMAGES = 256


class Images(Protocol):
    """Batches of normalised images and labels of a split (``train``, ``validation``)."""

    def __call__(self, split: str, resolution: int, *, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]: ...


@dataclass(frozen=True)
class ExportSettings:
    """Of a whole run: ``threads`` of runtimes, training images to calibrate int8 with, and the names of all targets,
    whose C can be linked into one firmware."""

    threads: int
    calibration_images: int
    target_names: Sequence[str]


def write_models(
    deployment: Deployment, spec: ExportSpec, *, images: Images, settings: ExportSettings
) -> tuple[list[Path], dict[str, Any]]:
    """Writes ``model.onnx`` and the deployment's own file; returns the files and what ``verify.json`` says.

    float32 files must agree with torch on validation images, or ``VerificationError`` is raised. int8 files are scored
    on the whole validation split, and made anew in other ways while they lose more than the target's ``int8_drop``.
    """
    # The ONNX file is written for every target, and the model is checked by it.
    onnx = export_onnx(
        spec.model,
        spec.folder / "model.onnx",
        resolution=spec.resolution,
        metadata=spec.metadata,
        opset=spec.onnx.opset,
        batch=spec.onnx.batch,
    )
    reference = onnxruntime.load(onnx, threads=settings.threads)
    result = _verify(spec, onnx, lambda batch: onnxruntime.run(reference, batch), images)

    # Then the runtime's own file.
    path = spec.folder / model_file(deployment)
    if deployment.bits == 8:
        before = _accuracy(spec, lambda batch: onnxruntime.run(reference, batch), images)
        result |= {"validation_accuracy_float32": before}
        result |= _quantize(deployment, spec, path, images=images, settings=settings, before=before)
    else:
        write = format_of(deployment).write
        if write:
            write(spec, path)
        session = open_session(deployment, spec.folder, threads=settings.threads)

        def run(batch: np.ndarray) -> np.ndarray:
            return deployment.module.run(session, batch)

        if write:
            result = _verify(spec, path, run, images)
        result["validation_accuracy"] = _accuracy(spec, run, images)

    # What the file needs: its size, the memory of a process that runs it, or a microcontroller's RAM and flash.
    result |= {"file": path.name, "bytes": path.stat().st_size}
    if spec.tflite.input:
        result["input_type"] = spec.tflite.input
    if deployment.has_latency and sys.platform == "linux":
        shape = (1, spec.model.in_chans, spec.resolution, spec.resolution)
        model = model_path(deployment, spec.folder)
        result["resident_bytes"] = deployment.module.memory(model, shape, threads=settings.threads)
    files = [onnx, path]
    if deployment.spec.format == "c":
        written, result["program"] = _write_c(deployment, spec, path, images=images, names=settings.target_names)
        files += written
    elif not deployment.has_latency:
        result["program"] = microcontroller.costs_of_model(deployment.module, path.read_bytes())
    return list(dict.fromkeys(files)), result


def _write_c(
    deployment: Deployment, spec: ExportSpec, path: Path, *, images: Images, names: Sequence[str]
) -> tuple[list[Path], dict[str, Any]]:
    """Writes the folder ``c``, and what its program for the deployment takes."""
    from ofa.export.microcontroller.export import MAX_EXAMPLES, export_c
    from ofa.export.microcontroller.names import distinct

    batches = images("validation", spec.resolution, limit=MAX_EXAMPLES)
    examples = np.concatenate([batch.cpu().numpy() for batch, _ in batches])
    folder = spec.folder / "c"
    name = distinct(spec.folder.name, list(names))
    how = {"in_place": deployment.memory.in_place, "patches": spec.patches}
    files = export_c(path, folder, images=examples, name=name, metadata=spec.metadata, notice=tqdm.write, **how)
    figures = {"name": name, **read_json(folder / "figures.json")["cpus"][deployment.runtime]}
    if figures.get("different_bytes"):
        raise VerificationError(
            f"{folder}: the program gives {figures['different_bytes']} bytes of {figures['images']} outputs that "
            "TensorFlow Lite Micro does not; do not use it, report it with its versions"
        )
    keys = {name: cost.program_figure for name, cost in COSTS.items() if cost.program_figure}
    figures |= {name: figures[key] for name, key in keys.items() if key in figures}
    return files, figures


def _verify(spec: ExportSpec, path: Path, run: Run, images: Images) -> dict[str, Any]:
    """How much a file's answers differ from torch's. Raises ``VerificationError`` when that is too much."""
    batches = (batch.cpu() for batch, _ in images("validation", spec.resolution, limit=VERIFY_IMAGES))
    result = compare(spec.model, run, batches)
    check_tolerance(path, result)
    return result


def _accuracy(spec: ExportSpec, run: Run, images: Images) -> float:
    """Of a runtime on the whole validation split."""
    return top1(lambda batch: run(batch.cpu().numpy()), images("validation", spec.resolution))


def _quantize(
    deployment: Deployment, spec: ExportSpec, path: Path, *, images: Images, settings: ExportSettings, before: float
) -> dict[str, Any]:
    """Writes the int8 file of the first attempt that keeps the accuracy ``before``, or of the best."""
    limit, file_format = settings.calibration_images, format_of(deployment)
    calibration = [batch.cpu().numpy() for batch, _ in images("train", spec.resolution, limit=limit)]

    def write(options: dict[str, Any]) -> bytes:
        file_format.quantize(spec, path, calibration, options)
        return path.read_bytes()

    content, result = quantize_within(
        deployment,
        file_format.attempts(spec.onnx),
        write=write,
        score=lambda run: _accuracy(spec, run, images),
        before=before,
        allowed_drop=spec.int8_drop,
        threads=settings.threads,
    )
    write_atomic(path, content)
    counts = {"calibration_images": sum(map(len, calibration)), "calibration_images_asked": limit}
    return {**result, "int8": {**counts, **result["int8"]}}
