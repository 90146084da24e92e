"""TFLite files, written directly from an ONNX graph: NHWC, batch 1, float32 or int8."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import nn

from ofa.export.formats import TFLITE_INPUTS
from ofa.export.graph import onnx_graph
from ofa.export.quantization.ranges import calibration_images
from ofa.export.tflite.xnnpack import for_xnnpack
from ofa.supernet.files import write_atomic
from ofa.supernet.image_batches import UNCHANGED, Normalisation


def tflite_bytes(
    graph: onnx.ModelProto, *, metadata: Mapping[str, Any] | None = None, resizable: bool = False
) -> bytes:
    """The float32 TFLite file of an ONNX graph (from ``onnx_graph`` or ``export_onnx``).

    ONNX's input is ``(batch, channels, height, width)``; TFLite's is ``input``, ``(1, height, width, channels)``, and
    its output ``logits``, in the signature ``serving_default``; ``resizable`` lets a runtime resize the input to
    another batch. Feature maps as output are NHWC too. Each entry of ``metadata`` is stored as JSON.

    Raises ``ValueError`` naming the operator and layer that is not in the set that our families need, or the packages
    of the extra ``tflite`` when they are not installed.
    """
    from ofa.export.tflite.flatbuffer import with_metadata
    from ofa.export.tflite.operators import Writer, reshaped
    from ofa.export.tflite.source import Source

    source = Source(graph)
    writer = Writer(source, resizable=resizable)
    builder = writer.builder
    channels, height, width = source.shape
    given = writer.tensors[source.input] = builder.tensor("input", (1, height, width, channels))
    writer.write()
    wanted = writer.tensors[source.output]
    if wanted == given:
        wanted = reshaped(builder, given, builder.shape(given), "identity", resizable=resizable)
    builder.tensors[wanted].name = "logits"
    content = builder.finish(given=given, wanted=wanted)
    return with_metadata(content, metadata) if metadata else content


def export_tflite(
    model: nn.Module,
    path: Path,
    *,
    resolution: int,
    metadata: Mapping[str, Any] | None = None,
    int8_data: Any = None,
    int8_options: Mapping[str, Any] | None = None,
    int8_check: bool = True,
    input_type: str | None = None,
    xnnpack: bool = True,
) -> Path:
    """Writes an eval-mode timm model as TFLite; returns the path.

    Input ``input``: ``(1, resolution, resolution, channels)``; output ``logits``: ``(1, classes)``. The file's metadata
    holds ``resolution`` and every entry of ``metadata`` (see ``read_tflite_metadata``).

    Args:
        metadata: of its entries ``mean`` and ``std`` (per channel, of pixels in 0..1) and ``classes`` also become the
            standard metadata that MediaPipe and Android Studio read, labels included, where ``xnnpack`` is true.
        int8_data: makes the file full-integer int8, calibrated on these normalised images: an array ``(n, channels,
            height, width)``, several as batches, or a loader of pairs of images and labels.
        int8_options: the remedies of ``quantize_tflite``.
        int8_check: whether an int8 network that does not answer as the float32 one on those images is refused.
        input_type: ``float32``, ``int8`` or ``uint8``. Default: that of the network, for normalised images, with an
            output of the same type. ``uint8`` is for pixels, which the network then normalises itself by the ``mean``
            and ``std`` of ``metadata`` or of the model's ``pretrained_cfg``; its output is float32, as it is of an int8
            network with ``float32``.
        xnnpack: rewrites the graph for LiteRT on phones (see ``for_xnnpack``), resizable to any batch size; without, it
            keeps the model's operators and one image, as microcontrollers need them.

    Raises ``ValueError`` when the model is in training mode, holds a layer that is not known here, or a package is not
    installed; when ``metadata``, ``input_type`` or the images cannot be used; and ``Collapse``, which is one.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before export")
    normalisation = Normalisation.known(metadata, getattr(model, "pretrained_cfg", None))
    _check_input_type(input_type, int8=int8_data is not None, normalisation=normalisation, channels=model.in_chans)
    graph = _graph(model, resolution)
    as_pixels = input_type == "uint8"
    if as_pixels:
        from ofa.export.tflite.input_type import with_normalisation

        graph = with_normalisation(graph, normalisation)
    content = tflite_bytes(for_xnnpack(graph, int8=int8_data is not None) if xnnpack else graph, resizable=xnnpack)
    if int8_data is not None:
        images = calibration_images(
            int8_data, shape=(model.in_chans, resolution, resolution), normalisation=normalisation
        )
        options = {"check": int8_check, "pixels_of": normalisation if as_pixels else None}
        content = _quantised(content, images, dict(int8_options or {}), **options)
    if input_type is not None:
        from ofa.export.tflite.input_type import with_input

        content = content if input_type == "int8" else with_input(content, input_type)
    values = {"resolution": resolution, **(metadata or {})}
    content = _described(content, values, None if as_pixels else normalisation, model, standard=xnnpack)
    write_atomic(path, content)
    return Path(path)


def _check_input_type(
    input_type: str | None, *, int8: bool, normalisation: Normalisation | None, channels: int
) -> None:
    if input_type is not None and input_type not in TFLITE_INPUTS:
        raise ValueError(f"input_type is {input_type!r}; it must be one of {', '.join(TFLITE_INPUTS)}")
    if input_type == "int8" and not int8:
        raise ValueError("input_type is 'int8'; a float32 network takes float32 or uint8 (int8_data makes it int8)")
    if input_type == "uint8":
        if normalisation is None:
            raise ValueError("input_type is 'uint8'; the metadata must tell mean and std, which the network applies")
        sizes = {len(part) for part in normalisation} - {1}
        if sizes - {channels}:
            raise ValueError(f"mean and std have {sorted(sizes)} values; the model has {channels} channels")


def _graph(model: nn.Module, resolution: int) -> onnx.ModelProto:
    try:
        return onnx_graph(model, (model.in_chans, resolution, resolution))
    except NotImplementedError as error:
        raise ValueError(f"{error}; TFLite export knows the layers of our families only") from error


def _quantised(
    content: bytes, images: np.ndarray, options: dict[str, Any], *, check: bool, pixels_of: Normalisation | None
) -> bytes:
    from ofa.export.quantization.activations import logits
    from ofa.export.quantization.calibration_data import refuse_collapse
    from ofa.export.quantization.tflite import quantize_tflite
    from ofa.export.tflite.input_type import PIXELS, pixels

    if pixels_of is not None:
        images = pixels(images, pixels_of)
        options |= {"normalisation": UNCHANGED, "input_range": PIXELS}
    result = quantize_tflite(content, [images], **options)
    if check:
        refuse_collapse(logits(content), logits(result), images)
    return result


def _described(
    content: bytes,
    metadata: Mapping[str, Any],
    normalisation: Normalisation | None,
    model: nn.Module,
    *,
    standard: bool,
) -> bytes:
    """With the metadata as JSON, and as the standard that other programs read; ``normalisation`` is left to them."""
    from ofa.export.tflite.flatbuffer import output_shape, with_metadata
    from ofa.export.tflite.metadata import NAME, standard_metadata, usable_labels, with_labels

    if not standard:
        return with_metadata(content, metadata)
    labels = usable_labels(metadata, output_shape(content)[-1])
    size, channels = int(metadata["resolution"]), model.in_chans
    described = standard_metadata(size=size, channels=channels, normalisation=normalisation, labels=bool(labels))
    content = with_metadata(content, metadata, **{NAME: described})
    return with_labels(content, labels) if labels else content


def read_tflite_metadata(path: Path) -> dict[str, Any]:
    """The metadata that ``export_tflite`` wrote. Raises ``ValueError`` naming the file when it is no TFLite model."""
    from ofa.export.tflite.flatbuffer import metadata_of

    content = Path(path).read_bytes()
    try:
        return metadata_of(content)
    except (struct.error, LookupError, TypeError, ValueError) as error:  # flatbuffers in Python do not check
        raise ValueError(f"{path} is no TFLite model: {error}") from error
