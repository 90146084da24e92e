"""Labelled images in three splits, in memory or as files."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ofa.data.image_file import read_image


@dataclass(frozen=True)
class Split:
    """Labelled images of a split.

    Attributes:
        images: uint8 ``(n, h, w)``; or with ``root`` byte-string paths relative to it ``(n,)``. Paths are a
            numpy array, because changing reference counts copy a list of a million strings into every
            forked worker.
        labels: int64 ``(n,)``.
    """

    images: np.ndarray
    labels: np.ndarray
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray) -> Split:
        return Split(self.images[rows], self.labels[rows], self.root)

    def path(self, index: int) -> Path:
        """The path of a file; only with ``root``."""
        return self.root / os.fsdecode(self.images[index])

    def open(self, index: int, mode: str) -> Image.Image:
        """One decoded image in PIL's ``mode``, "RGB" or "L". Raises ``UnreadableImage``."""
        if self.root is None:
            return Image.fromarray(self.images[index]).convert(mode)
        return read_image(self.path(index), mode)


@dataclass(frozen=True)
class Source:
    """The images of a data set.

    Attributes:
        kind: ``digits``, ``idx`` or ``folder``.
        classes: names of the classes; labels are indices into them.
        splits: by the names train, validation and test.
        unused: sentences about files and folders that are not used.
    """

    kind: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    unused: tuple[str, ...] = ()


def without(source: Source, left_out: Collection[str]) -> Source:
    """The source without the images whose paths are in ``left_out``."""
    if not left_out:
        return source
    names = np.array([os.fsencode(name) for name in left_out])
    splits = {name: split[np.flatnonzero(~np.isin(split.images, names))] for name, split in source.splits.items()}
    return Source(source.kind, source.classes, splits, source.unused)
