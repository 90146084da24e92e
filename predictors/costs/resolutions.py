"""Which resolutions are measured, and costs at those that are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ofa.supernet.space import SearchSpace

MAX_RESOLUTIONS = 5  # measured; those between are interpolated


def measured_resolutions(space: SearchSpace) -> tuple[int, ...]:
    """Up to five of the space's resolutions, smallest and largest among them."""
    count = len(space.resolutions)
    if count <= MAX_RESOLUTIONS:
        return space.resolutions
    return tuple(space.resolutions[round(i)] for i in np.linspace(0, count - 1, MAX_RESOLUTIONS))


def along_area(space: SearchSpace, measured: Sequence[int], values: np.ndarray) -> np.ndarray:
    """``values`` ``(measured, ...)`` at every resolution of the space: linear in the image's area, also beyond."""
    if len(measured) == 1:
        return np.repeat(values, len(space.resolutions), axis=0)
    measured_areas, areas = np.square(measured), np.square(space.resolutions)
    above = np.clip(np.searchsorted(measured_areas, areas), 1, len(measured) - 1)
    fraction = (areas - measured_areas[above - 1]) / (measured_areas[above] - measured_areas[above - 1])
    fraction = fraction.reshape(-1, *[1] * (values.ndim - 1))
    return (1 - fraction) * values[above - 1] + fraction * values[above]  # exact where it was measured
