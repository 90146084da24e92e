"""C for microcontrollers: a folder that builds by itself and checks itself byte by byte."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ofa.export import microcontroller_build as tools
from ofa.export.microcontroller_graph import import_graph
from ofa.export.microcontroller_sources import VARIANTS, Variant, write

MOST_EXAMPLES = 20
_TEMPLATES = (
    "Makefile",
    "main.c",
    "board.h",
    "board_host.c",
    "board_qemu.c",
    "profile.c",
    "profile.h",
    "model_add.h",
    "model_add.c",
)
_LINKER_SCRIPTS = ("mps2-an386.ld", "mps3-an547.ld")

_STORED = """#include "examples.h"
#if defined(__ELF__)
#define STORED __attribute__((section(".examples")))
#else
#define STORED
#endif
"""


class Examples(NamedTuple):
    """int8 images ``(n, values)``, by height, width and channel, and the outputs ``(n, classes)`` they must give."""

    inputs: np.ndarray
    outputs: np.ndarray


def export_c(
    model: Path | bytes,
    folder: Path,
    *,
    images: np.ndarray,
    metadata: Mapping[str, Any] | None = None,
    measure: bool = True,
) -> list[Path]:
    """Writes an int8 TFLite model as C11 with CMSIS-NN; returns the files.

    The folder builds for this computer (``make``), Cortex-M4 and Cortex-M55 (``make CPU=cortex-m4``), and checks its
    outputs against those that TensorFlow Lite Micro gives on ``images`` (``make check CPU=cortex-m4``). ``images`` are
    normalised float32 ``(n, channels, height, width)``; the first 20 are stored. A folder that is there is replaced.

    ``figures.json`` has ``metadata``, the bytes of weights and activations, and by CPU what was measured under QEMU:
    flash and RAM of the program, instructions for one inference, and ``verified``. Where the compiler or QEMU is not
    installed, or with ``measure=False``, ``verified`` is false and ``reason`` says why.

    Raises ``ValueError`` naming the layer whose operator has no C, or the packages that are not installed.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        made = Path(scratch) / "made"
        variants = write_sources(model, made, images=images)
        figures = {"metadata": dict(metadata or {}), **_figures(variants)}
        for cpu, entry in figures["cpus"].items():
            entry.update(_measured(made, cpu) if measure else {"verified": False, "reason": "not asked for"})
        (made / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
        for built in made.glob("build-*"):
            shutil.rmtree(built)
        if folder.exists():
            folder.rename(Path(scratch) / "before")
        made.rename(folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_sources(
    model: Path | bytes, folder: Path, *, images: np.ndarray, names: Sequence[str] = VARIANTS
) -> dict[str, Variant]:
    """The C of ``export_c`` without figures, in a new folder; ``names`` of its variants. Raises as it does."""
    name = "the TFLite model" if isinstance(model, bytes) else str(model)
    if len(images) == 0:
        raise ValueError("there are no images to store; give at least one")
    try:
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from error
    graph = import_graph(content, name=name)
    examples = expected(content, images[:MOST_EXAMPLES])
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        variants = write(graph, folder, Path(scratch), names)
    source = files("ofa.export") / "cortex_m"
    for file in (*_TEMPLATES, *_LINKER_SCRIPTS):
        (folder / file).write_text((source / file).read_text())
    write_examples(folder, examples)
    return variants


def expected(model: bytes, images: np.ndarray) -> Examples:
    """What TensorFlow Lite Micro's reference kernels make of normalised float32 images, as the model's own bytes."""
    from ofa.export.runtimes import tflm

    session = tflm.load(model)
    logits = tflm.run(session, images)
    inputs = quantized(np.asarray(images, np.float32).transpose(0, 2, 3, 1), session.given)
    return Examples(inputs.reshape(len(inputs), -1), quantized(logits, session.wanted))


def quantized(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """float32 values as the int8 of a tensor that the interpreter's ``details`` describe; of int8 made real, exact."""
    parameters = details["quantization_parameters"]
    scale, zero = np.float32(parameters["scales"][0]), np.float32(parameters["zero_points"][0])
    return np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)


def write_examples(folder: Path, examples: Examples) -> None:
    """``examples.c`` and ``examples.h``: what ``main.c`` runs and compares with."""
    count, values = examples.inputs.shape
    classes = examples.outputs.shape[1]
    guard = "/* The stored images and the outputs that TensorFlow Lite Micro gives for them. */\n"
    header = [
        "#ifndef EXAMPLES_H",
        "#define EXAMPLES_H\n",
        "#include <stdint.h>\n",
        f"#define EXAMPLES {count}u",
        f"extern const int8_t example_inputs[{count}][{values}];",
        f"extern const int8_t example_outputs[{count}][{classes}];\n",
        "#endif\n",
    ]
    (folder / "examples.h").write_text(guard + "\n".join(header))
    # A section of their own on the device: a program without them does not have their bytes.
    arrays = [
        f"STORED const int8_t {name}[{rows.shape[0]}][{rows.shape[1]}] = {{\n"
        + ",\n".join("{" + ",".join(map(str, row.tolist())) + "}" for row in rows)
        + "\n};\n"
        for name, rows in (("example_inputs", examples.inputs), ("example_outputs", examples.outputs))
    ]
    (folder / "examples.c").write_text(guard + _STORED + "".join(arrays))


def _figures(variants: Mapping[str, Variant]) -> dict[str, Any]:
    return {
        "weights_bytes": variants["portable"].weights,
        "cpus": {
            cpu: {"arena_bytes": variants[details.variant].arena, "machine": details.machine}
            for cpu, details in tools.CPUS.items()
        },
    }


def _measured(folder: Path, cpu: str) -> dict[str, Any]:
    try:
        program = tools.build(folder, cpu=cpu)
        output = tools.run(folder, cpu=cpu)
    except ValueError as error:
        return {"verified": False, "reason": str(error)}
    size, stack = tools.sizes(program), output.one("stack")
    return {
        "verified": output.one("different_bytes") == 0,
        "images": output.one("images"),
        "different_bytes": output.one("different_bytes"),
        "instructions": output.one("instructions"),
        "flash_bytes": size.flash,
        "ram_bytes": size.data + stack,
        "stack_bytes": stack,
    }
