"""Mean and standard deviation of pixels, computed from counts, so that they do not depend on the images' order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor


def pixel_statistics(batches: Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation per channel of uint8 ``(b, channels, h, w)`` as pixels in 0..1; None without images.

    The standard deviation of a constant channel is given as 1, so that dividing by it changes nothing.
    """
    # How often each level occurs in each channel (channels, 256).
    counts = sum(
        np.stack([np.bincount(channel.flatten().numpy(), minlength=256) for channel in images.unbind(1)])
        for images in batches
    )
    if isinstance(counts, int):
        return None
    fractions = counts / counts.sum(axis=1, keepdims=True)
    levels = np.arange(256) / 255
    mean = fractions @ levels
    std = np.sqrt((fractions * (levels - mean[:, None]) ** 2).sum(axis=1))
    return tuple(round(float(v), 4) for v in mean), tuple(round(float(v), 4) or 1.0 for v in std)
