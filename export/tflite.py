"""TFLite files, written directly from an ONNX graph: NHWC, batch 1, float32 or int8."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import Tensor, nn

from ofa.export.graph import onnx_graph
from ofa.export.tflite_xnnpack import for_xnnpack
from ofa.supernet.files import write_atomic


def tflite_bytes(graph: onnx.ModelProto, *, metadata: Mapping[str, Any] | None = None) -> bytes:
    """The float32 TFLite file of an ONNX graph (from ``onnx_graph`` or ``export_onnx``).

    ONNX's input is ``(batch, channels, height, width)``; TFLite's is ``input``, ``(1, height, width, channels)``, and
    its output ``logits``, in the signature ``serving_default``. Feature maps as output are NHWC too. Each entry of
    ``metadata`` is stored as JSON.

    Raises ``ValueError`` naming the operator and layer that is not in the set that our families need, or the packages
    of the extra ``tflite`` when they are not installed.
    """
    from ofa.export.tflite_flatbuffer import with_metadata
    from ofa.export.tflite_operators import Writer, reshaped
    from ofa.export.tflite_source import Source

    source = Source(graph)
    writer = Writer(source)
    builder = writer.builder
    channels, height, width = source.shape
    given = writer.tensors[source.input] = builder.tensor("input", (1, height, width, channels))
    writer.write()
    wanted = writer.tensors[source.output]
    if wanted == given:
        wanted = reshaped(builder, given, builder.shape(given), "identity")
    builder.tensors[wanted].name = "logits"
    content = builder.finish(given=given, wanted=wanted)
    return with_metadata(content, metadata) if metadata else content


def export_tflite(
    model: nn.Module,
    path: Path,
    *,
    resolution: int,
    metadata: Mapping[str, Any] | None = None,
    int8_data: Iterable[np.ndarray | Tensor] | None = None,
    int8_options: Mapping[str, Any] | None = None,
    xnnpack: bool = True,
) -> Path:
    """Writes an eval-mode timm model as TFLite; returns the path.

    Input ``input``: ``(1, resolution, resolution, channels)``, normalised; output ``logits``: ``(1, classes)``. The
    file's metadata holds ``resolution`` and every entry of ``metadata`` (see ``read_tflite_metadata``). Float32, or
    with ``int8_data`` full-integer int8 (input and output too), calibrated on those normalised float32 NCHW batches;
    ``int8_options`` are the remedies of ``quantize_tflite``.
    With ``xnnpack`` the graph is rewritten for LiteRT on phones (see ``for_xnnpack``); without, it keeps the model's
    operators, as microcontrollers need them.

    Raises ``ValueError`` when the model is in training mode, holds a layer that is not known here, or a package is not
    installed.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before export")
    try:
        graph = onnx_graph(model, (model.in_chans, resolution, resolution))
    except NotImplementedError as error:
        raise ValueError(f"{error}; TFLite export knows the layers of our families only") from error
    content = tflite_bytes(for_xnnpack(graph, int8=int8_data is not None) if xnnpack else graph)
    if int8_data is not None:
        from ofa.export.quantize import quantize_tflite

        content = quantize_tflite(content, (_array(batch) for batch in int8_data), **(int8_options or {}))
    from ofa.export.tflite_flatbuffer import with_metadata

    write_atomic(path, with_metadata(content, {"resolution": resolution, **(metadata or {})}))
    return Path(path)


def read_tflite_metadata(path: Path) -> dict[str, Any]:
    """The metadata that ``export_tflite`` wrote. Raises ``ValueError`` naming the file when it is no TFLite model."""
    from ofa.export.tflite_flatbuffer import metadata_of

    content = Path(path).read_bytes()
    try:
        return metadata_of(content)
    except (struct.error, LookupError, TypeError, ValueError) as error:  # flatbuffers in Python do not check
        raise ValueError(f"{path} is no TFLite model: {error}") from error


def _array(batch: np.ndarray | Tensor) -> np.ndarray:
    return np.asarray(batch.detach().cpu() if isinstance(batch, Tensor) else batch, np.float32)
