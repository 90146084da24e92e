"""Masks, kernel weights and weights among some options, as sums written out."""

import numpy as np
import pytest
import torch

from ofa.supernet.relaxation.mixing.plan import Kernels, Width
from ofa.supernet.relaxation.mixing.weights import among, kernel_weights, prefix_mask


def test_a_mask_is_the_weight_of_all_sizes_that_reach_a_channel():
    mask = prefix_mask(Width((1,), np.array([1, 2, 4])), [torch.empty(0), torch.tensor([0.5, 0.3, 0.2])])
    torch.testing.assert_close(mask, torch.tensor([1.0, 0.5, 0.2, 0.2]))


def test_genes_that_choose_one_width_together_are_independent():
    generator = torch.Generator().manual_seed(0)
    weights = [torch.rand(n, generator=generator) for n in (2, 5, 3)]
    sizes = np.array([[1, 4], [2, 6], [3, 9]])
    mask = prefix_mask(Width((2, 0), sizes), weights)
    for channel in range(9):
        reaching = [
            weights[2][first] * weights[0][second]
            for first in range(3)
            for second in range(2)
            if sizes[first, second] > channel
        ]
        torch.testing.assert_close(mask[channel], torch.stack(reaching).sum())


@pytest.mark.parametrize("weights", [(0.5, 0.3, 0.2), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_weights_among_some_options_keep_their_sum_and_are_never_undefined(weights):
    given = torch.tensor(weights, requires_grad=True)
    result = among(given, [False, True, True])
    result[2].backward()
    assert result[0] == 0 and torch.isfinite(given.grad).all()
    assert float(result.detach().sum()) == pytest.approx(sum(weights), rel=1e-5)


def test_weights_among_all_options_are_themselves():
    weights = torch.rand(3)
    assert among(weights, [True] * 3) is weights


def test_kernels_are_weighed_given_that_the_layer_runs():
    kernels = Kernels(0, (0, 3, None, 5, 3))
    weights = kernel_weights(kernels, torch.tensor([0.2, 0.1, 0.3, 0.3, 0.1]))
    assert {kernel: float(weight) for kernel, weight in weights.items()} == pytest.approx({3: 0.4, 5: 0.6}, rel=1e-4)
