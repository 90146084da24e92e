"""Affine quantization: ``real = scale * (integer - zero_point)``, computed in float32 as the runtimes do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike


def quantize(values: np.ndarray, scale: float, zero_point: float, dtype: DTypeLike = np.int8) -> np.ndarray:
    """``values`` as integers: rounded to the nearest (halves to even) and clipped to the range of ``dtype``."""
    limits = np.iinfo(dtype)
    steps = np.rint(values / np.float32(scale)) + np.float32(zero_point)
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantize(integers: np.ndarray, scale: float, zero_point: float) -> np.ndarray:
    """The real numbers, float32, that ``integers`` represent."""
    return (integers.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def parameters(details: Mapping[str, Any]) -> tuple[float, float]:
    """Scale and zero point of a tensor with one scale, from the interpreter's ``details`` of it."""
    stored = details["quantization_parameters"]
    return stored["scales"][0], stored["zero_points"][0]
