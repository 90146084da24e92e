"""How well an accuracy is known: the interval of a fraction that was counted on some images."""

from __future__ import annotations

import math

LEVEL = 0.95
_Z = 1.959963984540054  # of LEVEL, two-sided
# A fraction whose interval is narrower than this to each side is shown without it.
MIN_HALF_WIDTH = 0.005


def wilson(fraction: float, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a fraction of right answers on ``images`` images; (0, 1) when there are none."""
    if images < 1:
        return 0.0, 1.0
    spread = _Z**2 / images
    centre = (fraction + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(fraction * (1 - fraction) / images + spread / (4 * images))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def wide(interval: tuple[float, float]) -> bool:
    """Whether an interval belongs beside its number: more than half a point to either side."""
    return (interval[1] - interval[0]) / 2 > MIN_HALF_WIDTH


def in_brackets(interval: tuple[float, float] | None, *, decimals: int = 1) -> str:
    """`` (96.8-99.4)`` in percent; nothing when it is narrow or not known."""
    if interval is None or not wide(interval):
        return ""
    return f" ({100 * interval[0]:.{decimals}f}-{100 * interval[1]:.{decimals}f})"
