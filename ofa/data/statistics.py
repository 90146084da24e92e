"""Mean and spread of pixels, exact to the last digit whatever the order of the images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor


def pixel_statistics(batches: Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation per channel, of uint8 ``(b, channels, h, w)`` as pixels in 0..1; None of no images.

    A channel of one flat tone has no spread: its deviation is given as 1, so that dividing by it changes nothing.
    """
    histogram = sum(_histogram(images) for images in batches)
    if isinstance(histogram, int):
        return None
    fractions = histogram / histogram.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = fractions @ values
    std = np.sqrt((fractions * (values - mean[:, None]) ** 2).sum(axis=1))
    return tuple(round(float(v), 4) for v in mean), tuple(round(float(v), 4) or 1.0 for v in std)


def _histogram(images: Tensor) -> np.ndarray:
    """How often each value occurs in each channel ``(channels, 256)``."""
    return np.stack([np.bincount(channel.flatten().numpy(), minlength=256) for channel in images.unbind(1)])
