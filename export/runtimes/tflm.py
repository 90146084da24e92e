"""TensorFlow Lite Micro on this machine: the accuracy and the memory that a microcontroller's interpreter has.

It runs the reference kernels; XNNPACK's int8 results differ from theirs by some units. Latency on this machine is
meaningless, so it cannot be timed: there is neither ``bind`` nor ``convert``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ofa.export.extras import missing
from ofa.export.quantization import affine
from ofa.export.runtimes.machine import cpu_name

try:
    from tflite_micro.python.tflite_micro import runtime
except ImportError as error:
    raise missing("tflite-micro", "mcu") from error

NAME = "tflm"
_STDERR = 2
_ARENA = re.compile(r"Arena allocation (head|tail) (\d+)")
_lock = threading.Lock()  # the process has one stderr


class Memory(NamedTuple):
    """Bytes of a model's arena.

    ``arena``: the smallest that allocates here. ``head``: activations, the same on every device whose kernels need no
    scratch buffers. ``tail``: the interpreter's own structures, with 64-bit pointers here: less on a microcontroller.
    """

    arena: int
    head: int
    tail: int


@dataclass(frozen=True, eq=False)
class Session:
    """A model made ready by ``load``."""

    interpreter: runtime.Interpreter
    input: dict[str, Any]
    output: dict[str, Any]


def load(model: Path | bytes, *, threads: int = 1, arena: int | None = None) -> Session:
    """A session over a TFLite file or its bytes, float32 or int8, in an arena of ``arena`` bytes (default: enough).

    Raises ``ValueError`` naming the file when it is no TFLite model, has an operator that TensorFlow Lite Micro lacks,
    or needs a larger arena (with what it needs); and for more than one thread.
    """
    _check_threads(threads)
    content, name, enough = _content(model)
    interpreter = _interpreter(content, name, enough)
    if arena is not None:
        needed = _smallest(content, enough)
        if arena < needed:
            raise ValueError(f"tflm: an arena of {arena} bytes is too small for {name}; it needs {needed}")
        interpreter = _interpreter(content, name, arena)
    return Session(interpreter, interpreter.get_input_details(0), interpreter.get_output_details(0))


def run(session: Session, images: np.ndarray) -> np.ndarray:
    """Logits ``(batch, classes)`` of normalised float32 images ``(batch, channels, height, width)``."""
    data = _quantized(np.asarray(images, np.float32).transpose(0, 2, 3, 1), session.input)
    shape = tuple(map(int, session.input["shape"]))
    if data.shape[1:] != shape[1:]:
        raise ValueError(f"the images are {data.shape[1:]} (height, width, channels); the model takes {shape[1:]}")
    logits = np.empty((len(data), *session.output["shape"][1:]), session.output["dtype"])
    for index, image in enumerate(data):
        session.interpreter.set_input(image[None], 0)
        session.interpreter.invoke()
        logits[index] = session.interpreter.get_output(0)[0]
    return _real(logits, session.output)


def memory(model: Path | bytes) -> Memory:
    """What the model needs of an arena; takes about a second. Raises as ``load`` does."""
    head, tail = allocations(model)
    content, _, enough = _content(model)
    return Memory(_smallest(content, enough), head, tail)


def allocations(model: Path | bytes) -> tuple[int, int]:
    """``head`` and ``tail`` of ``memory``, which take milliseconds. Raises as ``load`` does."""
    interpreter = _interpreter(*_content(model))
    with _stderr() as text:
        interpreter.print_allocations()
        found = dict(_ARENA.findall(text()))
    return int(found["head"]), int(found["tail"])


def environment(*, threads: int) -> dict[str, Any]:
    """What a measured accuracy holds for: runtime, version, threads, processor. Raises ``ValueError`` for threads."""
    _check_threads(threads)
    return {"runtime": NAME, "version": version("tflite-micro"), "threads": threads, "cpu": cpu_name()}


def _check_threads(threads: int) -> None:
    if threads != 1:
        raise ValueError(f"threads is {threads}; TensorFlow Lite Micro has one: set threads to 1")


def _content(model: Path | bytes) -> tuple[bytes, str, int]:
    """The bytes, a name for errors, and a sufficient arena; the interpreter itself checks nothing and would crash."""
    name = "the TFLite model" if isinstance(model, bytes) else str(model)
    try:
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        if content[4:8] != b"TFL3":
            raise ValueError("it is no TFLite file")
        parsed = runtime.convert_bytearray_to_object(content)
        values = sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in parsed.subgraphs[0].tensors)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise ValueError(f"tflm cannot load {name}: {error}") from error
    if any(buffer.offset > 1 for buffer in parsed.buffers):  # it would compute garbage without an error
        raise ValueError(f"tflm cannot load {name}: its weights lie outside the flatbuffer; use quantize_tflite")
    # No tensor sharing memory, and the interpreter's own structures, which grow with the graph.
    return content, name, 16 * (values // 4 + len(content) // 4 + (1 << 16))


def _interpreter(content: bytes, name: str, arena: int) -> runtime.Interpreter:
    with _stderr() as text:
        try:
            return runtime.Interpreter.from_bytes(content, arena_size=arena)
        except RuntimeError as error:
            raise ValueError(f"tflm cannot load {name}: {' '.join(text().split())} ({error})") from error


def _smallest(content: bytes, enough: int) -> int:
    command = [sys.executable, "-m", "ofa.export.runtimes.tflm_arena", str(enough)]
    result = subprocess.run(command, input=content, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return int(result.stdout)


def _quantized(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    if details["dtype"] == np.float32:
        return values
    return affine.quantize(values, *affine.parameters(details), details["dtype"])


def _real(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    return values if details["dtype"] == np.float32 else affine.dequantize(values, *affine.parameters(details))


@contextmanager
def _stderr() -> Iterator[Callable[[], str]]:
    """What C code writes to stderr meanwhile, as text; stderr is put back as it was, also one that is closed."""
    with _lock, tempfile.TemporaryFile() as file:
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            before = os.dup(_STDERR)
        except OSError:
            before = None
        os.dup2(file.fileno(), _STDERR)

        def text() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield text
        finally:
            if before is None:
                os.close(_STDERR)
            else:
                os.dup2(before, _STDERR)
                os.close(before)
