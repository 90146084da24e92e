"""Predictions that cannot be: a cost of less than nothing, an accuracy above 1.

They are bent back, not cut off: a search compares predictions, and two networks that are both cut to the bound would be
equal. Inside the range of what was measured nothing changes, and the order of networks stays.
"""

from __future__ import annotations

import numpy as np

_FRACTION, _PERCENT = (0.0, 1.0), (0.0, 100.0)
_NEAREST = 1e-3  # of the range: measured on a bound itself, predictions bend this far before it


def above_zero(values: np.ndarray, floor: float) -> np.ndarray:
    """Costs as they are from ``floor`` on; lower ones approach zero, and none reaches it. ``floor`` 0: unchanged."""
    values = np.asarray(values, float)
    if not floor > 0:
        return values
    low = values < floor
    # As far below as that of the smallest numbers, costs are equal.
    return np.where(low, floor * np.exp(np.maximum(np.minimum(values - floor, 0.0) / floor, -600.0)), values)


def limits_of(measured: np.ndarray) -> tuple[float, float] | None:
    """The bounds of what was measured: of fractions (all in [0, 1]) or percents ([0, 100]); None for anything else."""
    for low, high in (_FRACTION, _PERCENT):
        if measured.min() >= low and measured.max() <= high:
            return low, high
    return None


def between(values: np.ndarray, limits: tuple[float, float] | None, measured: tuple[float, float] | None) -> np.ndarray:
    """Accuracies as they are from the lowest to the highest ``measured``; others approach the ``limits``."""
    if limits is None or measured is None:
        return values
    (low, high), near = limits, _NEAREST * (limits[1] - limits[0])
    bottom = max(measured[0] - low, near)
    top = max(high - measured[1], near)
    bent = low + above_zero(values - low, bottom)
    return high - above_zero(high - bent, top)
