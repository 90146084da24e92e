"""Functions of one int8 tensor as TFLite's reference kernels compute them: tables of 256 results.

Those kernels work in fixed point, and differ from the rounded function by a unit for some inputs.
"""

from __future__ import annotations

import math

import numpy as np

INPUTS = np.arange(-128, 128, dtype=np.int64)
_INT16 = np.iinfo(np.int16)


def logistic(scale: float, zero_point: int, out_scale: float, out_zero_point: int) -> np.ndarray:
    """int64 ``(256,)``, of the inputs -128 to 127."""
    exact = 1 / (1 + np.exp(-scale * (INPUTS - zero_point)))
    return _int8(np.floor(exact / out_scale + 0.5) + out_zero_point)


def hard_swish(scale: float, zero_point: int, out_scale: float, out_zero_point: int) -> np.ndarray:
    """int64 ``(256,)``, of the inputs -128 to 127: products of 16 bits, seven of them behind the point of the input."""
    high = (INPUTS - zero_point) << 7
    high_scale = scale / 128
    factor, exponent = _multiplier(high_scale / out_scale)
    gate_factor, gate_exponent = _multiplier(high_scale / (3 / 32768))

    # The gate (x + 3) / 6 as 15 bits, clipped to 0..1 by saturation.
    gate = high
    if gate_exponent > 0:
        gate = _saturated(gate << (gate_exponent - 1))
    gate = _rounded_product(gate, gate_factor)
    if gate_exponent > 0:
        gate = _saturated(gate << 1)
    elif gate_exponent < 0:
        gate = _rounded_shift(gate, -gate_exponent)
    gate = (gate + (1 << 15)) >> 1

    product = _towards_zero(gate * _rounded_product(high, factor), 1 << 15)
    scaled = _rounded_shift(product, -exponent) if exponent <= 0 else _saturated(product << exponent)
    return _int8(scaled + out_zero_point)


def _multiplier(value: float) -> tuple[int, int]:
    """A positive number as ``factor / 2^15 * 2^exponent``, the factor of 15 bits, rounded from one of 31."""
    fraction, exponent = math.frexp(value)
    factor = math.floor(fraction * (1 << 31) + 0.5)
    if factor == 1 << 31:
        factor, exponent = factor // 2, exponent + 1
    return min((factor + (1 << 15)) >> 16, _INT16.max), exponent


def _saturated(values: np.ndarray) -> np.ndarray:
    return np.clip(values, _INT16.min, _INT16.max)


def _towards_zero(values: np.ndarray, divisor: int) -> np.ndarray:
    return np.sign(values) * (np.abs(values) // divisor)


def _rounded_product(values: np.ndarray, factor: int) -> np.ndarray:
    """``values * factor / 2^15``, rounded."""
    product = values * factor
    return _towards_zero(product + np.where(product >= 0, 1 << 14, 1 - (1 << 14)), 1 << 15)


def _rounded_shift(values: np.ndarray, exponent: int) -> np.ndarray:
    """``values / 2^exponent``, halves away from zero."""
    half = (1 << exponent) >> 1
    return np.sign(values) * ((np.abs(values) + half) >> exponent)


def _int8(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -128, 127).astype(np.int64)
