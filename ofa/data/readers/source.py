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
    """Labels ``(n,)`` int64 and images: uint8 ``(n, h, w)``, or, below ``root``, byte-string paths ``(n,)``.

    Paths are one numpy array because a list of a million strings is copied into every forked worker, page by page, as
    reference counts change.
    """

    images: np.ndarray
    labels: np.ndarray
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray) -> Split:
        return Split(self.images[rows], self.labels[rows], self.root)

    def path(self, index: int) -> Path:
        return self.root / os.fsdecode(self.images[index])

    def open(self, index: int, mode: str) -> Image.Image:
        """One decoded image in PIL's ``mode``, "RGB" or "L". Raises ``UnreadableImage`` for a file that is none."""
        if self.root is None:
            return Image.fromarray(self.images[index]).convert(mode)
        return read_image(self.path(index), mode)


@dataclass(frozen=True)
class Source:
    """``splits`` has the keys train, validation and test. ``unused``: files and folders left out, sentences."""

    kind: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    unused: tuple[str, ...] = ()


def without(source: Source, left_out: Collection[str]) -> Source:
    """The source without these images."""
    if not left_out:
        return source
    names = np.array([os.fsencode(name) for name in left_out])
    splits = {name: split[np.flatnonzero(~np.isin(split.images, names))] for name, split in source.splits.items()}
    return Source(source.kind, source.classes, splits, source.unused)
