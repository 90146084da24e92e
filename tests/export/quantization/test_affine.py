"""Integers for real numbers: rounding, clipping, and back."""

import numpy as np
import pytest

from ofa.export.quantization.affine import dequantize, parameters, quantize


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("zero_point", [0, 3])
def test_every_integer_comes_back(dtype, zero_point):
    limits = np.iinfo(dtype)
    integers = np.arange(limits.min, limits.max + 1).astype(dtype)
    real = dequantize(integers, 0.0373, zero_point)
    assert real.dtype == np.float32
    back = quantize(real, 0.0373, zero_point, dtype)
    assert back.dtype == dtype
    assert np.array_equal(back, integers)


def test_halves_go_to_the_even_neighbour_and_the_rest_is_clipped():
    values = np.array([-1000, -1.5, -0.5, 0.5, 1.5, 1000], np.float32)
    assert quantize(values, 1.0, 0).tolist() == [-128, -2, 0, 0, 2, 127]
    assert quantize(values, 1.0, 128, np.uint8).tolist() == [0, 126, 128, 128, 130, 255]


def test_parameters_of_a_tensor():
    details = {"quantization_parameters": {"scales": np.array([0.5], np.float32), "zero_points": np.array([-3])}}
    assert parameters(details) == (0.5, -3)
