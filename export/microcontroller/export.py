"""C for microcontrollers: a folder with its own Makefile, whose program checks its outputs byte by byte."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ofa.export.microcontroller import build as tools
from ofa.export.microcontroller.bakenn_graph import import_graph
from ofa.export.microcontroller.folder import replacement, written_files
from ofa.export.microcontroller.names import names_of
from ofa.export.microcontroller.patches import Patches
from ofa.export.microcontroller.sources import VARIANTS, Variant, read_template, write
from ofa.export.quantization import affine

MAX_EXAMPLES = 20
_TEMPLATES = (
    *("Makefile", "main.c", "profile.c", "profile.h"),
    *("board.h", "board_host.c", "board_qemu.c", "mps2.ld", "mps2-an505.ld", "mps3-an547.ld"),
)

_STORED = """#include "examples.h"
#if defined(__ELF__)
#define STORED __attribute__((section(".examples")))
#else
#define STORED
#endif
"""


class Examples(NamedTuple):
    """int8 images ``(n, height * width * channels)`` and the int8 outputs ``(n, classes)`` that they must give."""

    inputs: np.ndarray
    outputs: np.ndarray


def export_c(
    model: Path | bytes,
    folder: Path,
    *,
    images: np.ndarray,
    name: str = "model",
    metadata: Mapping[str, Any] | None = None,
    in_place: bool = True,
    patches: Patches | None = None,
    measure: bool = True,
    notice: Callable[[str], object] = warnings.warn,
) -> list[Path]:
    """Writes an int8 TFLite model as C11 with CMSIS-NN; returns the files.

    The folder builds for this computer (``make``) and any Cortex-M (``make CPU=cortex-m4``). ``make check
    CPU=cortex-m4`` compares its outputs with those of TensorFlow Lite Micro on ``images``.

    - ``folder/src`` is for a firmware: every source in it may be compiled, as C11 or as C++11. All names in
      it begin with ``name``, made an identifier, so that models of several names link into one firmware:
      ``NAME_infer`` in ``NAME_infer.h``.
    - ``figures.json`` has ``metadata``, the bytes of weights and activations, and for each CPU what was
      measured under QEMU: flash and RAM of the program, instructions for one inference, and ``verified``.
      Where the compiler or QEMU is not installed, or with ``measure=False``, ``verified`` is false and
      ``reason`` says why.
    - ``files.json`` has the SHA-256 of each file.

    In an existing folder only files that an earlier export wrote are replaced. Others stay. Edited ones are
    kept as ``FILE.yours``, and ``notice`` is called with a sentence about each. The change is atomic.

    Args:
        images: normalised float32 ``(n, channels, height, width)``; the first 20 are stored for the
            comparison.
        in_place: whether outputs are written over inputs (``microcontroller.memory``).
        patches: which operators are computed in patches (``microcontroller.patches``).

    Raises ``ValueError`` naming the layer whose operator has no C, the packages that are not installed, or
    ``folder`` when that is a file or a link.
    """
    folder = Path(folder)
    with replacement(folder, notice=notice) as new_folder:
        variants = write_sources(model, new_folder, images=images, name=name, in_place=in_place, patches=patches)
        figures = {"metadata": dict(metadata or {}), **_figures(variants)}
        for cpu, entry in figures["cpus"].items():
            entry.update(_measured(new_folder, cpu) if measure else {"verified": False, "reason": "not asked for"})
        (new_folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
        for build_folder in new_folder.glob("build-*"):
            shutil.rmtree(build_folder)
    return written_files(folder)


def write_sources(
    model: Path | bytes,
    folder: Path,
    *,
    images: np.ndarray,
    name: str = "model",
    names: Sequence[str] = VARIANTS,
    in_place: bool = True,
    patches: Patches | None = None,
) -> dict[str, Variant]:
    """Writes the C of ``export_c`` without figures into a new or empty folder; returns the variants ``names``.

    Raises as ``export_c`` does, and ``ValueError`` without images.
    """
    file = "the TFLite model" if isinstance(model, bytes) else str(model)
    if len(images) == 0:
        raise ValueError("there are no images to store; give at least one")
    try:
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    graph = import_graph(content, name=file)
    examples, c_names = examples_of(content, images[:MAX_EXAMPLES]), names_of(name)

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        variants = write(graph, folder, Path(scratch), c_names, names, in_place=in_place, patches=patches)
    for template in _TEMPLATES:
        (folder / template).write_text(c_names.apply(read_template(template)).replace("bknn_model", c_names.prefix))
    write_examples(folder, examples)
    return variants


def examples_of(model: bytes, images: np.ndarray) -> Examples:
    """Normalised float32 images and their outputs by TensorFlow Lite Micro's reference kernels, quantised as in C."""
    from ofa.export.runtimes import tflm

    session = tflm.load(model)
    logits = tflm.run(session, images)
    maps = np.asarray(images, np.float32).transpose(0, 2, 3, 1)
    inputs = affine.quantize(maps, *affine.parameters(session.input))
    outputs = affine.quantize(logits, *affine.parameters(session.output))  # exact: the logits were int8
    return Examples(inputs.reshape(len(inputs), -1), outputs)


def write_examples(folder: Path, examples: Examples) -> None:
    """Writes ``examples.c`` and ``examples.h``, the inputs that ``main.c`` runs and the outputs that it expects."""
    count, input_size = examples.inputs.shape
    classes = examples.outputs.shape[1]
    guard = "/* The stored images and the outputs that TensorFlow Lite Micro gives for them. */\n"
    header = [
        "#ifndef EXAMPLES_H",
        "#define EXAMPLES_H\n",
        "#include <stdint.h>\n",
        '#ifdef __cplusplus\nextern "C" {\n#endif',
        f"#define EXAMPLES {count}u",
        f"extern const int8_t example_inputs[{count}][{input_size}];",
        f"extern const int8_t example_outputs[{count}][{classes}];",
        "#ifdef __cplusplus\n}\n#endif\n",
        "#endif\n",
    ]
    (folder / "examples.h").write_text(guard + "\n".join(header))

    # On the device they have a section of their own, whose bytes do not count as the program's.
    arrays = [
        f"STORED const int8_t {name}[{rows.shape[0]}][{rows.shape[1]}] = {{\n"
        + ",\n".join("{" + ",".join(map(str, row.tolist())) + "}" for row in rows)
        + "\n};\n"
        for name, rows in (("example_inputs", examples.inputs), ("example_outputs", examples.outputs))
    ]
    (folder / "examples.c").write_text(guard + _STORED + "".join(arrays))


def _figures(variants: Mapping[str, Variant]) -> dict[str, Any]:
    """The figures that need no measurement."""
    return {
        "weights_bytes": variants["portable"].weights,
        "cpus": {
            cpu: {"arena_bytes": variants[details.variant].arena, "machine": details.machine}
            for cpu, details in tools.CPUS.items()
        },
    }


def _measured(folder: Path, cpu: str) -> dict[str, Any]:
    """The figures of a program that is built and run for ``cpu``, or why there are none."""
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
