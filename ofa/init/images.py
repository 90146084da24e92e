"""What a folder of images is like: counts, classes, sizes and colour, by the readers that training has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ofa.config.data import DataConfig
from ofa.data.image_file import UnreadableImage
from ofa.data.readers.idx import idx_files
from ofa.data.readers.source import Source, Split
from ofa.data.sources import open_source
from ofa.errors import UserError

_LOOKED_AT = 64  # images of the training split
_COLOUR_SIDE = 32  # pixels; colour is told from small copies
_COLOUR = 12  # of 255: a difference of the channels that JPEG does not make of grey


@dataclass(frozen=True)
class ImageFacts:
    """A summary of labelled images.

    Attributes:
        kind: the key of ``data:`` that reads them, ``folder`` or ``idx``.
        counts: images of each split.
        side: of an image's shorter side the median, in pixels.
        sides: the smallest and the largest of these.
        grey: whether no image that was looked at has colour.
        unused: sentences about files that are not used.
    """

    folder: Path
    kind: str
    counts: dict[str, int]
    classes: tuple[str, ...]
    side: int
    sides: tuple[int, int]
    grey: bool
    unused: tuple[str, ...] = ()


def look_at(folder: Path) -> ImageFacts:
    """Raises ``UserError`` when the folder is missing, holds no classes of images, or none that can be read."""
    folder = folder.expanduser().absolute()
    source, kind = _opened(folder)
    train = source.splits["train"]
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _LOOKED_AT)).astype(int))
    seen = [found for row in rows if (found := _seen(train, int(row)))]
    if not seen:
        raise UserError(f"{folder}: none of {len(rows)} training images that were tried can be read; see `ofa check`")
    sides = [side for side, _ in seen]
    return ImageFacts(
        folder=folder,
        kind=kind,
        counts={name: len(split) for name, split in source.splits.items()},
        classes=source.classes,
        side=int(np.median(sides)),
        sides=(min(sides), max(sides)),
        grey=not any(coloured for _, coloured in seen),
        unused=source.unused,
    )


def _opened(folder: Path) -> tuple[Source, str]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the path of the folder that holds your images")
    try:
        idx_files(folder)
        kind = "idx"
    except UserError:
        kind = "folder"
    try:
        return open_source(DataConfig(**{kind: folder}), resolution=1), kind
    except UserError as error:
        raise UserError(str(error).removeprefix(f"data.{kind}: ")) from error


def _seen(split: Split, row: int) -> tuple[int, bool] | None:
    """The shorter side of an image and whether it has colour; ``None`` when it cannot be read."""
    try:
        image = split.open(row, "RGB")
    except UnreadableImage:
        return None
    small = np.asarray(image.resize((_COLOUR_SIDE, _COLOUR_SIDE), Image.Resampling.BOX), int)
    return min(image.size), bool((small.max(axis=2) - small.min(axis=2) > _COLOUR).any())
