"""LiteRT on the CPU: with XNNPACK, as on phones, or with its reference kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ofa.export.extras import missing
from ofa.export.graph import onnx_graph
from ofa.export.quantization import affine
from ofa.export.runtimes.machine import cpu_name
from ofa.export.runtimes.process_memory import resident
from ofa.export.tflite.export import tflite_bytes
from ofa.export.tflite.flatbuffer import metadata_of
from ofa.export.tflite.xnnpack import for_xnnpack
from ofa.supernet.image_batches import Normalisation

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
except ImportError as error:
    raise missing("ai-edge-litert", "tflite") from error

NAME = "litert"


@dataclass(frozen=True)
class TensorInfo:
    """An input or output: its tensor, shape, type, and for integers the scale and zero point.

    ``pixels_of``: how the network normalises the pixels that it takes, when it does.
    """

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    zero_point: int
    pixels_of: Normalisation | None = None

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Real numbers (NHWC, normalised) as the tensor holds them."""
        if self.pixels_of is not None:
            values = 255 * (values * np.array(self.pixels_of.std) + np.array(self.pixels_of.mean))
        if self.dtype.kind == "f":
            return np.ascontiguousarray(values, self.dtype)
        return np.ascontiguousarray(affine.quantize(values, self.scale, self.zero_point, self.dtype))

    def decode(self, values: np.ndarray) -> np.ndarray:
        """What the tensor holds as float32."""
        if self.dtype.kind == "f":
            return values.astype(np.float32, copy=False)
        return affine.dequantize(values, self.scale, self.zero_point)


@dataclass(frozen=True, eq=False)
class Session:
    """A model made ready by ``load``."""

    interpreter: Interpreter
    input: TensorInfo
    output: TensorInfo


def load(model: Path | bytes, *, threads: int = 1) -> Session:
    """A session over a TFLite file or its bytes, float32 or int8, with XNNPACK's kernels where it has them.

    Raises ``ValueError`` naming the file when LiteRT cannot load it or it has several inputs or outputs.
    """
    return _load(model, threads, OpResolverType.AUTO)


def load_reference(model: Path | bytes) -> Session:
    """The same with LiteRT's reference kernels: slow, with int8 predictions as on TensorFlow Lite Micro."""
    return _load(model, 1, OpResolverType.BUILTIN_REF)


def run(session: Session, images: np.ndarray) -> np.ndarray:
    """Logits ``(batch, classes)`` of normalised float32 images ``(batch, channels, height, width)``, one at a time.

    A part of a network may read tokens ``(batch, tokens, channels)``.

    Raises ``ValueError`` when the images have another size than the model's.
    """
    images = np.asarray(images)
    _, *sides, channels = session.input.shape
    shape = (channels, *sides) if len(sides) == 2 else (*sides, channels)
    if images.shape[1:] != shape:
        raise ValueError(f"the model takes images of shape {shape}, not {images.shape[1:]}")
    data = session.input.encode(_channels_last(images))
    outputs = np.empty((len(data), *session.output.shape[1:]), session.output.dtype)
    for image, output in zip(data, outputs, strict=True):
        session.interpreter.set_tensor(session.input.index, image[None])
        session.interpreter.invoke()
        output[...] = session.interpreter.get_tensor(session.output.index)[0]
    return session.output.decode(outputs)


def bind(session: Session, shape: tuple[int, ...]) -> Callable[[], object]:
    """A call that runs the session once on fixed data already in place: what ``timing.interleaved`` times.

    ``shape`` is ``(1, channels, height, width)``, or that of tokens ``(1, tokens, channels)``.
    """
    data = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    session.interpreter.set_tensor(session.input.index, session.input.encode(_channels_last(data)))
    return session.interpreter.invoke


def _channels_last(images: np.ndarray) -> np.ndarray:
    """Tokens have their channels last already."""
    return images.transpose(0, 2, 3, 1) if images.ndim == 4 else images


def memory(model: Path, shape: tuple[int, ...], *, threads: int = 1) -> int:
    """Bytes that a process grows by to load and run the TFLite file: see ``resident``."""
    return resident(NAME, model, shape, threads=threads)


def environment(*, threads: int) -> dict[str, Any]:
    """What a measured time holds for: runtime, version, threads, processor."""
    return {"runtime": NAME, "version": version("ai-edge-litert"), "threads": threads, "cpu": cpu_name()}


def convert(module: nn.Module, shape: tuple[int, ...]) -> bytes:
    """What ``load`` takes for an eval-mode module on float32 maps of ``shape`` (channels, height, width), or
    tokens (tokens, channels).

    Raises ``NotImplementedError`` or ``ValueError`` naming the layer that is not known.
    """
    return tflite_bytes(for_xnnpack(onnx_graph(module, shape), int8=False))


def convert_int8(module: nn.Module, shape: tuple[int, int, int]) -> bytes:
    """The same as int8, calibrated on noise: right for timing, not for predictions. Raises as ``convert``."""
    from ofa.export.quantization.tflite import quantize_tflite

    images = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    return quantize_tflite(tflite_bytes(for_xnnpack(onnx_graph(module, shape), int8=True)), [images])


def _load(model: Path | bytes, threads: int, resolver: OpResolverType) -> Session:
    name = "the TFLite model" if isinstance(model, bytes) else model
    try:
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        if not content:
            raise ValueError("it is empty")
        interpreter = Interpreter(model_content=content, num_threads=threads, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"litert cannot load {name}: {str(error).strip()}") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"litert cannot load {name}: {len(inputs)} inputs and {len(outputs)} outputs, not one each")
    tensor = _tensor_info(inputs[0])
    if tensor.dtype == np.uint8:
        tensor = replace(tensor, pixels_of=Normalisation.known(metadata_of(content)))
    return Session(interpreter, tensor, _tensor_info(outputs[0]))


def _tensor_info(details: dict[str, Any]) -> TensorInfo:
    scale, zero_point = details["quantization"]
    shape = tuple(int(size) for size in details["shape"])
    return TensorInfo(details["index"], shape, np.dtype(details["dtype"]), scale, zero_point)
