"""TFLite's standard metadata, which MediaPipe and Android read: the normalisation of images and the class names.

Written with ``flatbuffers`` by field numbers, after Google's ``metadata_schema.fbs`` (identifier ``M001``),
because the package with its classes, tflite-support, has not been maintained since 2023. Labels are in a
zip archive behind the model, where readers of the metadata look for them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ofa.export.extras import missing
from ofa.supernet.image_batches import Normalisation

try:
    import flatbuffers
except ImportError as error:
    raise missing("flatbuffers", "tflite") from error

NAME = "TFLITE_METADATA"  # of the model's metadata buffer
LABELS = "labels.txt"
_IDENTIFIER = b"M001"
_PARSER = "1.0.0"  # the oldest version of the schema that has all fields used here
_RGB, _GRAYSCALE = 1, 2
_FEATURE, _IMAGE = 1, 2  # kinds of content
_NORMALIZATION = 1  # kind of process unit
_AXIS_LABELS = 2  # kind of associated file


def standard_metadata(
    *, size: int, channels: int, normalisation: Normalisation | None, labels: bool, name: str = "once-for-all"
) -> bytes:
    """The metadata buffer of an image classifier with the input ``input`` and the output ``logits``.

    Args:
        size, channels: of the input images.
        normalisation: what a reader has to do with pixels in 0..1; None when it is not known.
        labels: whether a file of labels follows the model (see ``with_labels``).
    """
    image = _Table({0: _Byte(_GRAYSCALE if channels == 1 else _RGB), 1: _Table({0: _Size(size), 1: _Size(size)})})
    input_fields: dict[int, Any] = {
        0: "input",
        1: "The image, of which the classes are told.",
        3: _Table({0: _Kind(_IMAGE), 1: image}),
    }
    if normalisation is not None:  # in units of pixels, 0 to 255
        mean_and_std = {field: 255 * np.array(channels) for field, channels in enumerate(normalisation)}
        input_fields[4] = [_Table({0: _Kind(_NORMALIZATION), 1: _Table(mean_and_std)})]

    output_fields: dict[int, Any] = {
        0: "logits",
        1: "One number per class, the largest of the most likely class.",
        3: _Table({0: _Kind(_FEATURE), 1: _Table({})}),
    }
    if labels:
        output_fields[6] = [_Table({0: LABELS, 1: "The classes, in the order of the logits.", 2: _Byte(_AXIS_LABELS)})]

    graph = _Table({0: "main", 2: [_Table(input_fields)], 3: [_Table(output_fields)]})
    builder = flatbuffers.Builder(1024)
    root = _Table({0: name, 1: "Tells what an image shows.", 3: [graph], 7: _PARSER}).write(builder)
    builder.Finish(root, _IDENTIFIER)
    return bytes(builder.Output())


def usable_labels(metadata: Mapping[str, Any] | None, classes: int) -> list[str] | None:
    """The class names in ``metadata``, when each is one line and there are as many as ``classes``; else None."""
    names = (metadata or {}).get("classes")
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) != classes:
        return None
    labels = [str(name) for name in names]
    return labels if "\n".join(labels).splitlines() == labels else None


def with_labels(content: bytes, labels: Sequence[str]) -> bytes:
    """The file with its labels in a zip archive behind the model; the same labels give the same bytes."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, (1980, 1, 1, 0, 0, 0)), "".join(f"{label}\n" for label in labels))
    return file.getvalue()


class _Byte(int):
    """A value of an enumeration, stored as a signed byte."""


class _Kind(int):
    """The type of a union; the union's table is in the next field."""


class _Size(int):
    """The side of an image, stored as an unsigned 32-bit integer."""


class _Table:
    """Values by field number. Flatbuffers need what a table refers to before the table itself."""

    def __init__(self, fields: Mapping[int, Any]) -> None:
        self._fields = fields

    def write(self, builder: flatbuffers.Builder) -> int:
        offsets = {field: _offset(builder, value) for field, value in self._fields.items()}
        builder.StartObject(1 + max(self._fields, default=-1))
        for field, value in self._fields.items():
            match value:
                case _Byte():
                    builder.PrependInt8Slot(field, int(value), 0)
                case _Kind():
                    builder.PrependUint8Slot(field, int(value), 0)
                case _Size():
                    builder.PrependUint32Slot(field, int(value), 0)
                case _:
                    builder.PrependUOffsetTRelativeSlot(field, offsets[field], 0)
        return builder.EndObject()


def _offset(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes ``value`` and returns its offset; 0 of a number, which is written with its table."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, _Table):
        return value.write(builder)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value.astype("<f4"))
    if isinstance(value, list):
        tables = [table.write(builder) for table in value]
        builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            builder.PrependUOffsetTRelative(table)
        return builder.EndVector()
    return 0
