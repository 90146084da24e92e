"""A target's model files: written, checked against the torch model, and scored in the runtime that will run them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn
from tqdm import tqdm

from ofa.export.onnx import export_onnx
from ofa.export.runtimes import onnxruntime
from ofa.export.verify import VerificationError, check_tolerance, compare
from ofa.pipeline.artefacts.verification import TRAINED
from ofa.predictors.costs.microcontroller import tables as microcontroller
from ofa.predictors.costs.names import COSTS
from ofa.predictors.metrics import top1
from ofa.supernet.files import read_json, write_atomic
from ofa.supernet.saving import save_weights
from ofa.targets.deployment import Deployment
from ofa.targets.model_formats import ExportSpec, format_of, model_file, model_path, open_session
from ofa.targets.quantization_attempts import Run, quantize_within
from ofa.targets.quantization_aware import Trained, train_for_int8

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
    on the whole validation split, and made anew in other ways while they lose more than the target's ``int8_drop``. The
    last of them changes the network: ``weights.safetensors`` and ``model.onnx`` are then those of the changed one.
    """
    # The ONNX file is written for every target, and the model is checked by it.
    onnx = _export_onnx(spec)
    run_onnx = _runner(onnx, threads=settings.threads)
    result = _verify(spec, onnx, run_onnx, images)

    # Then the runtime's own file.
    path = spec.folder / model_file(deployment)
    if deployment.bits == 8:
        before = _accuracy(spec, run_onnx, images)
        result |= {"validation_accuracy_float32": before}
        model, quantized = _quantize(deployment, spec, path, images=images, settings=settings, before=before)
        result |= quantized
        if "training" in quantized["int8"]:
            # The float32 file is that of the network that was kept.
            spec = replace(spec, model=model)
            run_onnx = _runner(_export_onnx(spec), threads=settings.threads)
            result |= _verify(spec, onnx, run_onnx, images)
            result |= {"validation_accuracy_float32": _accuracy(spec, run_onnx, images)}
            save_weights(model, spec.folder / "weights.safetensors")
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


def _runner(onnx: Path, *, threads: int) -> Run:
    session = onnxruntime.load(onnx, threads=threads)
    return lambda batch: onnxruntime.run(session, batch)


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
) -> tuple[nn.Module, dict[str, Any]]:
    """Writes the int8 file of the first attempt that keeps the accuracy ``before``, or of the best.

    Returns the network that it was made from, which is another one where it was trained for int8, and the results.
    """
    limit, file_format = settings.calibration_images, format_of(deployment)
    calibration = [batch.cpu().numpy() for batch, _ in images("train", spec.resolution, limit=limit)]
    trained: Trained | None = None

    def write(options: dict[str, Any], model: nn.Module = spec.model) -> bytes:
        file_format.quantize(replace(spec, model=model), path, calibration, options)
        return path.read_bytes()

    def train(options: dict[str, Any]) -> bytes:
        nonlocal trained
        how = {"resolution": spec.resolution, "kernels": file_format.kernels, "options": options}
        learns = {"learns_ranges": file_format.learns_ranges}
        trained = train_for_int8(spec.model, calibration, spec.training, **how, **learns)
        _export_onnx(replace(spec, model=trained.model))  # which an int8 ONNX file is made from
        return write(trained.options, trained.model)

    content, result = quantize_within(
        deployment,
        file_format.attempts(spec.onnx),
        write=write,
        score=lambda run: _accuracy(spec, run, images),
        before=before,
        allowed_drop=spec.int8_drop,
        threads=settings.threads,
        last=train if spec.training else None,
    )
    write_atomic(path, content)
    counts = {"calibration_images": sum(map(len, calibration)), "calibration_images_asked": limit}
    facts = {**counts, **result["int8"]}
    if trained is not None:
        facts |= {"training": {"epochs": spec.training.epochs, "lr": spec.training.lr, "float32_before": before}}
    model = trained.model if trained is not None and facts["used"] == TRAINED else spec.model
    return model, {**result, "int8": facts}


def _export_onnx(spec: ExportSpec) -> Path:
    return export_onnx(
        spec.model,
        spec.folder / "model.onnx",
        resolution=spec.resolution,
        metadata=spec.metadata,
        opset=spec.onnx.opset,
        batch=spec.onnx.batch,
    )
