"""What users of scikit-learn call ``X``, as images: arrays, flat rows, or paths of files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ofa.data.readers.source import Split

_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Scale:
    """How values of arrays become pixels of 0..255: those of uint8 stay, others are spread from ``low`` to ``high``."""

    low: float = 0.0
    high: float = 255.0

    @classmethod
    def of(cls, values: np.ndarray) -> Scale:
        """That of training images, whose smallest value is black and whose largest is white."""
        if values.dtype == np.uint8:
            return cls()
        low, high = float(values.min()), float(values.max())
        return cls(low, high if high > low else low + 1.0)

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """uint8 of the same shape; what lies outside is black or white."""
        if (self.low, self.high) == (0.0, 255.0) and values.dtype == np.uint8:
            return values
        shares = (values.astype(np.float64) - self.low) / (self.high - self.low)
        return np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)


def are_paths(X: Any) -> bool:
    """Whether ``X`` is a list, or an array of one dimension, of names of files."""
    if isinstance(X, np.ndarray):
        return X.ndim == 1 and len(X) > 0 and isinstance(X[0], str | os.PathLike)
    return isinstance(X, Sequence) and not isinstance(X, str) and len(X) > 0 and isinstance(X[0], str | os.PathLike)


def image_array(values: np.ndarray, image_shape: tuple[int, ...] | None) -> np.ndarray:
    """``(n, height, width)`` or ``(n, height, width, 3)`` of finite values.

    Flat rows ``(n, features)`` have ``image_shape``. Without one they are grey squares, row by row; where no square has
    so many pixels, zeros are added up to the next that has.

    Raises ``ValueError`` when these are no images.
    """
    if values.ndim == 2:
        values = _unflattened(values, image_shape)
    elif image_shape is not None and tuple(values.shape[1:]) != tuple(image_shape):
        raise ValueError(f"X holds images of shape {values.shape[1:]}, and image_shape is {tuple(image_shape)}")
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (3, 4) or (values.ndim == 4 and values.shape[-1] not in _CHANNELS):
        raise ValueError(
            f"X has the shape {values.shape}; images are (n, height, width), with channels (n, height, width, 1 or 3), "
            "or flat (n, features)"
        )
    return values


def _unflattened(rows: np.ndarray, image_shape: tuple[int, ...] | None) -> np.ndarray:
    features = rows.shape[1]
    if image_shape is not None:
        if math.prod(image_shape) != features:
            raise ValueError(
                f"X has {features} features a row, and image_shape {tuple(image_shape)} has another number"
            )
        return rows.reshape(len(rows), *image_shape)
    side = math.isqrt(features - 1) + 1
    if side * side > features:
        rows = np.concatenate([rows, np.zeros((len(rows), side * side - features), rows.dtype)], axis=1)
    return rows.reshape(len(rows), side, side)


def array_split(pixels: np.ndarray, labels: np.ndarray) -> Split:
    return Split(pixels, labels.astype(np.int64))


def path_split(paths: Sequence[Any], labels: np.ndarray) -> Split:
    """Images that are read when they are needed. Raises ``ValueError`` for a file that is not there."""
    absolute = [Path(path).absolute() for path in paths]
    if missing := [path for path in absolute if not path.is_file()]:
        raise ValueError(f"X names {missing[0]}, which is no file; give paths of images")
    # A root that no path is relative to: pathlib keeps an absolute path that is joined to it.
    names = np.array([os.fsencode(path) for path in absolute])
    return Split(names, labels.astype(np.int64), root=Path(absolute[0].anchor))
