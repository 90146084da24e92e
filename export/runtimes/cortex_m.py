"""Cortex-M processors under qemu-system-arm: CMSIS-NN's own results, instructions, RAM and flash.

What it counts are instructions, not cycles and not time: how many cycles an instruction takes depends on the chip and
its memory. The count of one program on one image is the same on every machine. So there is no ``bind``.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from ofa.export.microcontroller import build as tools
from ofa.export.microcontroller.export import Examples, write_examples, write_sources
from ofa.export.microcontroller.model_body import Executed
from ofa.export.microcontroller.patches import Patches
from ofa.export.quantization import affine

NAMES = tuple(tools.CPUS)  # those that a recipe's target may be; ``load`` takes any of ``PROCESSORS``
_MAX_BYTES = 1 << 20  # of images in one program: the emulated flash has two MB


class Figures(NamedTuple):
    """What one inference takes: ``instructions``; bytes of ``flash`` (code, constants, initial data) and of ``ram``
    (arena, input, output, other static data and the deepest ``stack``)."""

    instructions: int
    flash: int
    ram: int
    stack: int


class Operator(NamedTuple):
    """One operator of a model, as ``model_body.Executed``, and its ``instructions``."""

    kind: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int
    padding: tuple[int, ...]
    instructions: int


@dataclass(frozen=True, eq=False)
class Session:
    """A program made ready by ``load``; its folder goes with it."""

    cpu: str
    folder: Path
    input: dict[str, Any]
    output: dict[str, Any]
    executed: list[Executed]
    timeout: float
    _owner: tempfile.TemporaryDirectory = field(repr=False)


def load(
    model: Path | bytes,
    *,
    threads: int = 1,
    cpu: str = "cortex_m4",
    in_place: bool = True,
    patches: Patches | None = None,
    timeout: float = 600,
) -> Session:
    """A program for ``cpu`` (a key of ``microcontroller_build.PROCESSORS``) of an int8 TFLite file or its bytes.

    ``timeout`` in seconds holds for each build and each run. Raises ``ValueError`` naming the file when it is no model
    that C can be written for, what to install when a tool is missing, and for more than one thread.
    """
    from ofa.export.runtimes import tflm

    _check(threads, cpu)
    absent = tools.missing_tools()
    if absent:
        raise ValueError(absent)
    micro = tflm.load(model)
    if micro.input["dtype"] != np.int8:
        name = "the TFLite model" if isinstance(model, bytes) else model
        raise ValueError(f"{name} is not int8; export it with int8_data")
    owner = tempfile.TemporaryDirectory(prefix="ofa-cortex-m-")
    folder = Path(owner.name) / "model"
    _, height, width, channels = micro.input["shape"]
    black = np.zeros((1, channels, height, width), np.float32)
    variant = tools.PROCESSORS[cpu].variant
    made = write_sources(model, folder, images=black, names=[variant], in_place=in_place, patches=patches)[variant]
    # It is built when it runs: with counters, with outputs, or plain.
    return Session(cpu, folder, micro.input, micro.output, made.executed, timeout, owner)


def run(session: Session, images: np.ndarray) -> np.ndarray:
    """Logits ``(batch, classes)`` of normalised float32 images ``(batch, channels, height, width)``.

    Raises ``ValueError`` when QEMU faults or takes longer than the session's timeout.
    """
    maps = np.asarray(images, np.float32).transpose(0, 2, 3, 1)
    data = affine.quantize(maps, *affine.parameters(session.input))
    shape = tuple(int(size) for size in session.input["shape"][1:])
    if data.shape[1:] != shape:
        raise ValueError(f"the images are {data.shape[1:]} (height, width, channels); the model takes {shape}")
    data = data.reshape(len(data), -1)
    classes = int(session.output["shape"][-1])
    at_once = max(1, _MAX_BYTES // data.shape[1])
    parts = [np.empty((0, classes), np.int8)]
    for start in range(0, len(data), at_once):
        part = data[start : start + at_once]
        output = _execute(session, part, out="build-run", options=["DEFINES=-DPRINT_OUTPUTS"])
        parts.append(np.array(output.numbers["output"], np.int8).reshape(len(part), classes))
    return affine.dequantize(np.concatenate(parts), *affine.parameters(session.output))


def figures(session: Session, image: np.ndarray | None = None) -> Figures:
    """Of one inference of ``image`` ``(channels, height, width)``, default noise: it hardly matters which."""
    output = _execute(session, _one(session, image))
    size = tools.sizes(session.folder / f"build-{tools.PROCESSORS[session.cpu].name}" / "model")
    stack = output.one("stack")
    return Figures(output.one("instructions"), size.flash, size.data + stack, stack)


def operators(session: Session, image: np.ndarray | None = None) -> list[Operator]:
    """Instructions of every operator, in the order they run. Reshapes, which take none, are not among them."""
    output = _execute(session, _one(session, image), out="build-profile", options=["PROFILE=1"])
    return [
        Operator(*executed, count) for executed, count in zip(session.executed, output.numbers["operator"], strict=True)
    ]


def convert_int8(module: nn.Module, shape: tuple[int, int, int]) -> bytes:
    """The int8 TFLite model of an eval-mode module that reads ``shape`` (channels, height, width)."""
    from ofa.export.graph import onnx_graph
    from ofa.export.quantization.tflite import quantize_tflite
    from ofa.export.tflite.export import tflite_bytes

    images = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    return quantize_tflite(tflite_bytes(onnx_graph(module, shape)), [images])


def environment(*, threads: int, cpu: str = "cortex_m4") -> dict[str, Any]:
    """What measured figures hold for: the emulated processor and what makes the program.

    Raises ``ValueError`` for more than one thread.
    """
    from importlib.metadata import version

    _check(threads, cpu)
    compiler = "not compiled"
    if tools.missing_tools() is None:
        found = subprocess.run(["arm-none-eabi-gcc", "-dumpfullversion"], capture_output=True, text=True, check=True)
        compiler = f"gcc {found.stdout.strip()}"
    made = f"{compiler}, bakenn {version('bakenn')}"
    return {"runtime": cpu, "version": made, "threads": threads, "cpu": tools.PROCESSORS[cpu].machine}


def _check(threads: int, cpu: str) -> None:
    if cpu not in tools.PROCESSORS:
        raise ValueError(f"cpu is {cpu!r}; it must be one of {', '.join(tools.PROCESSORS)}")
    if threads != 1:
        raise ValueError(f"threads is {threads}; a microcontroller has one: set threads to 1")


def _one(session: Session, image: np.ndarray | None) -> np.ndarray:
    _, height, width, channels = session.input["shape"]
    if image is None:
        return np.random.default_rng(0).integers(-128, 128, (1, height * width * channels), np.int8)
    values = np.asarray(image, np.float32).transpose(1, 2, 0)
    return affine.quantize(values, *affine.parameters(session.input)).reshape(1, -1)


def _execute(session: Session, images: np.ndarray, *, out: str | None = None, options: list[str] | None = None) -> Any:
    nothing = np.zeros((len(images), int(session.output["shape"][-1])), np.int8)
    write_examples(session.folder, Examples(images, nothing))
    tools.build(session.folder, cpu=session.cpu, out=out, options=options or (), timeout=session.timeout)
    return tools.run(session.folder, cpu=session.cpu, out=out, timeout=session.timeout)
