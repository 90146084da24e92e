"""ONNX Runtime on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from ofa.export.onnx_session import session_options
from ofa.export.runtimes.machine import cpu_name
from ofa.export.runtimes.process_memory import resident

if TYPE_CHECKING:
    from torch import nn

NAME = "onnxruntime"


def load(model: Path | bytes, *, threads: int = 1, optimise: bool = True) -> onnxruntime.InferenceSession:
    """A session over an ONNX file or its bytes, with all graph optimisations, or with none.

    Without, a file with quantize and dequantize nodes computes in float32 between them: the same on every processor.

    Raises ``ValueError`` naming the file when it is no ONNX model.
    """
    options = session_options(threads=threads, optimise=optimise)
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        name = "the ONNX model" if isinstance(model, bytes) else model
        raise ValueError(f"onnxruntime cannot load {name}: {error}") from error


def run(session: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    """Logits ``(batch, classes)`` of normalised float32 images ``(batch, channels, height, width)``.

    Files with a fixed batch size run as often as that takes.
    """
    tensor = session.get_inputs()[0]
    images = np.ascontiguousarray(images, np.float32)
    batch = tensor.shape[0]
    if not isinstance(batch, int) or batch == len(images):
        return session.run(None, {tensor.name: images})[0]
    parts = [images[start : start + batch] for start in range(0, len(images), batch)]
    full = (np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.float32)]) for part in parts)
    outputs = [session.run(None, {tensor.name: part})[0] for part in full]
    return np.concatenate(outputs)[: len(images)] if outputs else np.empty((0, *session.get_outputs()[0].shape[1:]))


def bind(session: onnxruntime.InferenceSession, shape: tuple[int, ...]) -> Callable[[], object]:
    """A call that runs the session once on fixed data already in place: what ``timing.interleaved`` times."""
    binding = session.io_binding()
    data = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    binding.bind_cpu_input(session.get_inputs()[0].name, data)
    binding.bind_output(session.get_outputs()[0].name)
    return lambda: session.run_with_iobinding(binding)


def convert(module: nn.Module, shape: tuple[int, int, int]) -> bytes:
    """What ``load`` takes, of an eval-mode module that reads ``shape`` (channels, height, width), in milliseconds."""
    # A process that only runs files, as the one that measures their memory, has no use for torch's seconds of import.
    from ofa.export.graph import onnx_graph

    return onnx_graph(module, shape).SerializeToString()


def convert_int8(module: nn.Module, shape: tuple[int, int, int]) -> bytes:
    """The same in int8 (quantize and dequantize nodes), with ranges seen on one random map."""
    from ofa.export.quantization.onnx import quantize_onnx

    with tempfile.TemporaryDirectory() as folder:
        source, path = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(convert(module, shape))
        images = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
        quantize_onnx(source, path, [images], check=False)
        return path.read_bytes()


def memory(model: Path, shape: tuple[int, ...], *, threads: int = 1) -> int:
    """Bytes that a process grows by to load and run the ONNX file: see ``resident``."""
    return resident(NAME, model, shape, threads=threads)


def environment(*, threads: int) -> dict[str, Any]:
    """What a measured time holds for: runtime, version, threads, processor."""
    return {"runtime": NAME, "version": onnxruntime.__version__, "threads": threads, "cpu": cpu_name()}
