"""ONNX Runtime on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from torch import nn

from ofa.export.graph import onnx_graph
from ofa.export.runtimes.machine import cpu_name
from ofa.export.runtimes.resident import resident

NAME = "onnxruntime"


def session_options(*, threads: int | None = None) -> onnxruntime.SessionOptions:
    """Options of every session that we make; ``threads`` as many as onnxruntime likes, or so many.

    Its threads do not spin while they wait: on a machine with other work they would take the time that those need that
    they wait for.
    """
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def load(model: Path | bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session over an ONNX file or its bytes, with all graph optimisations.

    Raises ``ValueError`` naming the file when it is no ONNX model.
    """
    options = session_options(threads=threads)
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        name = "the ONNX model" if isinstance(model, bytes) else model
        raise ValueError(f"onnxruntime cannot load {name}: {error}") from error


def run(session: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    """Logits ``(batch, classes)`` of normalised float32 images ``(batch, channels, height, width)``."""
    return session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(images, np.float32)})[0]


def prepared(session: onnxruntime.InferenceSession, shape: tuple[int, ...]) -> Callable[[], object]:
    """A call that runs the session once on fixed data already in place: what ``timing.interleaved`` times."""
    binding = session.io_binding()
    data = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    binding.bind_cpu_input(session.get_inputs()[0].name, data)
    binding.bind_output(session.get_outputs()[0].name)
    return lambda: session.run_with_iobinding(binding)


def part(module: nn.Module, shape: tuple[int, int, int]) -> bytes:
    """What ``load`` takes, of an eval-mode module that reads ``shape`` (channels, height, width), in milliseconds."""
    return onnx_graph(module, shape).SerializeToString()


def part_int8(module: nn.Module, shape: tuple[int, int, int]) -> bytes:
    """The same in int8 (quantize and dequantize nodes), with ranges seen on one random map."""
    from ofa.export.quantize_onnx import quantize_onnx

    with tempfile.TemporaryDirectory() as folder:
        source, path = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(part(module, shape))
        quantize_onnx(source, path, [np.random.default_rng(0).standard_normal((1, *shape), np.float32)])
        return path.read_bytes()


def memory(model: Path, shape: tuple[int, ...], *, threads: int = 1) -> int:
    """Bytes that a process grows by to load and run the ONNX file: see ``resident``."""
    return resident(NAME, model, shape, threads=threads)


def environment(*, threads: int) -> dict[str, Any]:
    """What a measured time holds for: runtime, version, threads, processor."""
    return {"runtime": NAME, "version": onnxruntime.__version__, "threads": threads, "cpu": cpu_name()}
