"""Rounded activations and their gradients."""

import torch

from ofa.export.quantization.fake.rounding import activation, make_ranges


def rounded(values, low, high, clamp=None):
    """Rounded values, and the gradients of their sum: of the values, and of both bounds."""
    bounds = [torch.tensor([bound], requires_grad=True) for bound in (low, high)]
    values = torch.tensor(values, requires_grad=True)
    result = activation(values, make_ranges(*bounds)[0], clamp)
    result.sum().backward()
    return result, values.grad, *(bound.grad.item() for bound in bounds)


def test_inside_the_range_a_step_is_the_scale():
    result, gradient, *_ = rounded([0.0, 0.9, 1.1, -3.4], -128.0, 127.0)
    assert result.tolist() == [0, 1, 1, -3] and gradient.tolist() == [1, 1, 1, 1]


def test_what_is_clipped_moves_the_bound_at_its_end():
    result, gradient, of_low, of_high = rounded([300.0, 400.0, -500.0, 7.0], -128.0, 127.0)
    assert result.tolist() == [127, 127, -128, 7] and gradient.tolist() == [0, 0, 0, 1]
    assert (of_low, of_high) == (1, 2)


def test_the_rounding_error_moves_both_bounds():
    """A larger scale raises what was rounded up."""
    _, _, of_low, of_high = rounded([0.75], -128.0, 127.0)
    assert abs(of_high - 0.25 / 255) < 1e-7 and abs(of_low + 0.25 / 255) < 1e-7


def test_an_activation_function_clips_without_moving_the_range():
    result, gradient, of_low, of_high = rounded([-4.0, 3.0, 9.0], 0.0, 25.5, clamp=(0.0, 6.0))
    assert torch.allclose(result, torch.tensor([0.0, 3.0, 6.0])) and gradient.tolist() == [0, 1, 0]
    assert max(abs(of_low), abs(of_high)) < 1e-6
