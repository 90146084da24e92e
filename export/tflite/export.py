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

    ONNX's input is ``(batch, channels, height, width)``. TFLite's is ``input``,
    ``(1, height, width, channels)``, and its output ``logits``, in the signature ``serving_default``. Tokens
    are ``(1, tokens, channels)``. With ``resizable`` a runtime may resize the input to another batch size.
    Feature maps as output are NHWC, too. Each entry of ``metadata`` is stored as JSON.

    Raises ``ValueError`` naming the operator and the layer that is not supported, or the packages of the
    extra ``tflite`` when they are not installed.
    """
    from ofa.export.tflite.flatbuffer import with_metadata
    from ofa.export.tflite.operators import write_nodes
    from ofa.export.tflite.source import Source
    from ofa.export.tflite.writer import Stored, Writer, usual_layout

    source = Source(graph)
    writer = Writer(source, resizable=resizable)
    builder = writer.builder
    layout = usual_layout(1 + len(source.shape))
    images = builder.tensor("input", [(1, *source.shape)[axis] for axis in layout])
    writer.tensors[source.input] = Stored(images, layout)
    write_nodes(writer)

    # A graph without operators needs one, for input and output must be different tensors.
    output = writer.tensors[source.output]
    logits = writer.moved(output, usual_layout(len(output.layout)), "logits")
    if logits == images:
        logits = writer.reshaped(images, builder.shape(images), "identity")
    builder.tensors[logits].name = "logits"
    content = builder.finish(images, logits)
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

    Input ``input``: ``(1, resolution, resolution, channels)``; output ``logits``: ``(1, classes)``. The
    file's metadata holds ``resolution`` and every entry of ``metadata`` (see ``read_tflite_metadata``).

    Args:
        metadata: its entries ``mean`` and ``std`` (per channel, of pixels in 0..1) and ``classes`` also
            become the standard metadata that MediaPipe and Android Studio read, labels included, where
            ``xnnpack`` is true.
        int8_data: makes the file full-integer int8, calibrated on these normalised images: an array
            ``(n, channels, height, width)``, several as batches, or a loader of pairs of images and labels.
        int8_options: the options of ``quantize_tflite`` for higher accuracy.
        int8_check: whether to refuse an int8 network whose outputs on those images have little to do with
            those of the float32 network.
        input_type: ``float32``, ``int8`` or ``uint8``. Default: the network's own type, for normalised
            images, with an output of the same type. With ``uint8`` the input are pixels, which the network
            normalises itself, by the ``mean`` and ``std`` of ``metadata`` or of the model's
            ``pretrained_cfg``. The output is then float32, and so it is of an int8 network with
            ``float32``.
        xnnpack: rewrites the graph for LiteRT on phones (see ``for_xnnpack``), resizable to any batch size.
            Without it, the file keeps the model's operators and takes one image, as microcontrollers need
            it.

    Raises ``ValueError`` when the model is in training mode or has a layer that is not supported; when a
    package is not installed; when ``metadata``, ``input_type`` or the images cannot be used; and
    ``Collapse``, a ``ValueError``, when ``int8_check`` fails.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before export")
    normalisation = Normalisation.known(metadata, getattr(model, "pretrained_cfg", None))
    _check_input_type(input_type, int8=int8_data is not None, normalisation=normalisation, channels=model.in_chans)
    try:
        graph = onnx_graph(model, (model.in_chans, resolution, resolution))
    except NotImplementedError as error:
        raise ValueError(f"{error}; TFLite export knows the layers of our families only") from error

    # Changes of the graph come first: quantization calibrates the network that is written.
    takes_pixels = input_type == "uint8"
    if takes_pixels:
        from ofa.export.tflite.input_type import with_normalisation

        graph = with_normalisation(graph, normalisation)
    content = tflite_bytes(for_xnnpack(graph, int8=int8_data is not None) if xnnpack else graph, resizable=xnnpack)

    # The input's type is changed after quantization, which makes all tensors int8.
    if int8_data is not None:
        images = calibration_images(
            int8_data, shape=(model.in_chans, resolution, resolution), normalisation=normalisation
        )
        pixels_of = normalisation if takes_pixels else None
        content = _quantised(content, images, dict(int8_options or {}), check=int8_check, pixels_of=pixels_of)
    if input_type is not None:
        from ofa.export.tflite.input_type import with_input

        content = content if input_type == "int8" else with_input(content, input_type)

    entries = {"resolution": resolution, **(metadata or {})}
    content = _described(content, entries, None if takes_pixels else normalisation, model, standard=xnnpack)
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


def _quantised(
    content: bytes, images: np.ndarray, options: dict[str, Any], *, check: bool, pixels_of: Normalisation | None
) -> bytes:
    from ofa.export.quantization.activations import logits
    from ofa.export.quantization.calibration_data import refuse_collapse
    from ofa.export.quantization.tflite import quantize_tflite
    from ofa.export.tflite.input_type import NORMALISED, PIXELS, pixels

    if pixels_of is not None:
        images = pixels(images, pixels_of)
        options |= {"normalisation": UNCHANGED, "input_range": PIXELS}
        if bounds := options.get("bounds"):  # of the network behind the normalisation, whose input is its output
            options["bounds"] = {NORMALISED if name == "input" else name: span for name, span in bounds.items()}
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
    """The file with its metadata: as JSON, and with ``standard`` in the form that MediaPipe and Android read.

    ``normalisation`` is what those programs have to do with pixels; None when there is nothing to do.
    """
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
    except (struct.error, LookupError, TypeError, ValueError) as error:  # flatbuffers does not check the bytes
        raise ValueError(f"{path} is no TFLite model: {error}") from error
