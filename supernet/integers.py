"""Integer arithmetic for Python's integers and numpy arrays."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

Integers = TypeVar("Integers", int, np.ndarray)


def ceil_div(number: Integers, divisor: int) -> Integers:
    """``number / divisor`` rounded up."""
    return -(-number // divisor)


def round_up(number: Integers, multiple: int) -> Integers:
    """The smallest multiple of ``multiple`` that is at least ``number``."""
    return ceil_div(number, multiple) * multiple
