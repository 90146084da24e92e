"""Runs the files of a finished run in other runtimes and compares their outputs with torch's.

    python benchmarks/other_runtimes.py RUN --with onnxruntime=OLD/bin/python --with openvino=OTHER/bin/python \\
        --with onnxruntime_web=FOLDER_OF_NODE_MODULES

``--with RUNTIME=WHERE`` names a runtime of ``other_runtimes/read_model.py`` and a Python that has it; a runtime may be
given several times, in several versions, each perhaps with a note: ``RUNTIME:NOTE=WHERE``. ``WHERE`` may be a command,
such as an emulator of a processor without VNNI and the Python that it runs. ONNX files go to ONNX Runtime and OpenVINO,
TFLite files to the others and OpenVINO too. Real images are those of the run's validation split. Writes
``results/other_runtimes.md``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from ai_edge_quantizer import quantizer

from ofa.config.recipe_file import load_run_recipe
from ofa.export.runtimes import litert
from ofa.export.tflite.export import export_tflite
from ofa.pipeline.job import Job
from ofa.supernet.saving import load_subnet

HERE = Path(__file__).parent
READER = HERE / "other_runtimes" / "read_model"
READS = {
    "onnxruntime": (".onnx",),
    "onnxruntime_plain": (".onnx",),
    "onnxruntime_web": (".onnx",),
    "openvino": (".onnx", ".tflite"),
    "tensorflow": (".tflite",),
    "tflite_runtime": (".tflite",),
    "litert": (".tflite",),
    "mediapipe": (".tflite",),
}


@dataclass(frozen=True)
class Model:
    """One file of the run, its inputs, and torch's outputs."""

    target: str
    path: Path
    images: np.ndarray
    pixels: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    note: str = ""

    @property
    def kind(self) -> str:
        return "int8" if ".int8." in self.path.name else "float32"


@torch.no_grad()
def models(job: Job, run: Path, count: int, targets: list[str]) -> Iterator[Model]:
    mean, std = (np.array(part).reshape(-1, 1, 1) for part in (job.data.mean, job.data.std))
    for name in targets:
        folder = run / "models" / name
        file = folder / json.loads((folder / "verify.json").read_text())["file"]
        resolution = json.loads((folder / "subnet.json").read_text())["subnet"]["resolution"]
        batches = list(job.images("validation", resolution, limit=count))
        images = torch.cat([batch for batch, _ in batches]).contiguous()
        pixels = np.rint(255 * (images.numpy() * std + mean)).astype(np.uint8).transpose(0, 2, 3, 1)
        labels = torch.cat([each for _, each in batches]).numpy()
        logits = load_subnet(folder)(images).numpy()
        yield Model(name, file, images.numpy(), np.ascontiguousarray(pixels), labels, logits)


def steps(path: Path) -> dict[str, tuple[float, int]]:
    """Scale and zero point of a file's input and output."""
    if path.suffix != ".tflite":
        return {"given": (1.0, 0), "wanted": (1.0, 0)}
    session = litert.load(path)
    return {"given": _step(session.input), "wanted": _step(session.output)}


def _step(port: litert.Port) -> tuple[float, int]:
    return port.scale or 1.0, port.zero_point


def per_channel(model: Model, job: Job, folder: Path) -> Model:
    """The same int8 network with a scale for each class of its classifier, as it was before TFLite 2.10 was heeded."""
    plain = quantizer.Quantizer.add_static_config
    resolution = model.images.shape[-1]
    limit = job.recipe.collect.calibration_images
    data = [batch.cpu().numpy() for batch, _ in job.images("train", resolution, limit=limit)]
    with patch.object(
        quantizer.Quantizer,
        "add_static_config",
        lambda self, *given, weight_granularity=None, **named: plain(self, *given, **named),
    ):
        path = export_tflite(
            load_subnet(model.path.parent), folder / model.path.name, resolution=resolution, int8_data=data
        )
    return replace(model, path=path, note=", classifier per channel")


def read(runtime: str, where: str, model: Model) -> tuple[np.ndarray, str]:
    """Logits and version. Raises ``RuntimeError`` with the runtime's last lines of output."""
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npy"
        if runtime == "onnxruntime_web":
            inputs.write_bytes(model.images.astype("<f4").tobytes())
            shape = ",".join(map(str, model.images.shape))
            command = ["node", f"{READER}.mjs", where, model.path, shape, inputs, outputs]
        else:
            np.savez(inputs, images=model.images, pixels=model.pixels, **steps(model.path))
            command = [*shlex.split(where), f"{READER}.py", runtime, model.path, inputs, outputs]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, errors="replace", timeout=900, check=False
        )
        if done.returncode != 0:
            lines = [line for line in done.stderr.strip().splitlines() if "rror" in line] or ["no message"]
            raise RuntimeError(lines[-1].strip()[:160])
        version = done.stdout.split("version ")[-1].split()[0]
        if runtime == "onnxruntime_web":
            return np.frombuffer(outputs.read_bytes(), "<f4").reshape(len(model.images), -1), version
        return np.load(outputs), version


def row(runtime: str, where: str, model: Model) -> list[Any]:
    runtime, _, note = runtime.partition(":")
    shown = runtime.replace("_", " ") + (f", {note}" if note else "")
    named = [model.target + model.note, model.kind, model.path.name, shown]
    try:
        got, version = read(runtime, where, model)
    except RuntimeError as error:
        return [
            model.target + model.note,
            model.kind,
            model.path.name,
            runtime.replace("_", " "),
            "-",
            f"refused: {error}",
            "",
            "",
        ]
    difference = np.abs(got - model.logits).max() / np.ptp(model.logits)
    agreed = (got.argmax(1) == model.logits.argmax(1)).mean()
    right = (got.argmax(1) == model.labels).mean()
    cells = [f"{difference:.1e}", f"{100 * agreed:.1f}", f"{100 * right:.1f}"]
    return [*named, version, *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--with", dest="runtimes", action="append", default=[], metavar="RUNTIME=WHERE")
    parser.add_argument("--target", dest="targets", action="append", metavar="TARGET", help="default: all")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "other_runtimes.md")
    given = parser.parse_args()
    runtimes = [item.split("=", 1) for item in given.runtimes]
    if unknown := {name.partition(":")[0] for name, _ in runtimes} - READS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(READS)}")
    rows, folder = [], tempfile.TemporaryDirectory()
    job = Job(load_run_recipe(given.run), given.run)
    found = list(models(job, given.run, given.images, given.targets or list(job.recipe.targets)))
    whole = [
        model
        for model in found
        if model.path.name == "model.int8.tflite" and litert.load(model.path).input.dtype == np.int8
    ]
    found += [per_channel(whole[0], job, Path(folder.name))] if whole else []
    for model in found:
        right = 100 * (model.logits.argmax(1) == model.labels).mean()
        rows.append(
            [model.target, "float32", "weights.safetensors", "torch", torch.__version__, "0", "100.0", f"{right:.1f}"]
        )
        for runtime, where in runtimes:
            if model.path.suffix in READS[runtime.partition(":")[0]]:
                rows.append(row(runtime, where, model))
                print(*rows[-1], sep="  ", flush=True)
        write(given.out, rows, given.images)  # after each file: some runtimes take minutes


def write(path: Path, rows: list[list[object]], images: int) -> None:
    head = ["target", "numbers", "file", "runtime", "version", "largest difference", "same class, %", "top-1, %"]
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in [head, ["---"] * len(head), *rows]]
    path.write_text("\n".join([_INTRODUCTION.format(images=images), *lines]) + "\n")


_INTRODUCTION = """# Files of a finished run, read by other runtimes

Made by `benchmarks/other_runtimes.py` on up to {images} validation images of a run. The largest difference of any logit
is a share of the range of torch's float32 logits; the same class is torch's float32 one.
"""


if __name__ == "__main__":
    main()
