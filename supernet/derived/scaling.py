"""How many channels a share or a ratio keeps."""

from __future__ import annotations


def share_of(size: int, share: float) -> int:
    """``share`` of the model's own channels: a multiple of 8 (of 4, 2 where their number is none), never above it."""
    if share >= 1:
        return size
    divisor = next((step for step in (8, 4, 2) if size % step == 0 and size > step), 1)
    return min(size, make_divisible(size * share, divisor))


def make_divisible(exact: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor``, at least one, and not below 0.9 of ``exact``: timm's rule."""
    channels = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return channels + divisor if channels < 0.9 * exact else channels
