"""Rank correlation, errors of cost tables, top-1 accuracy: one convention each."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import nn

from ofa.predictors.metrics import cost_errors, cost_quality, kendall_tau, mape, top1


def test_kendall_tau_is_scipys_where_both_sides_vary():
    rng = np.random.default_rng(0)
    for n in (2, 3, 10, 100):
        one, other = rng.integers(5, size=n) + rng.random(n) * rng.integers(2, size=n), rng.random(n)
        assert kendall_tau(one, other) == pytest.approx(kendalltau(one, other).statistic)


@pytest.mark.parametrize("one", [[], [1.0], [2.0, 2.0, 2.0]])
def test_what_is_constant_has_no_rank(one):
    assert kendall_tau(np.array(one), np.arange(len(one), dtype=float)) == 0.0
    assert kendall_tau(np.arange(len(one), dtype=float), np.array(one)) == 0.0


def test_errors_of_too_few_networks_are_unknown():
    assert cost_errors(np.zeros(0), np.zeros(0)) == {"mape": None, "kendall_tau": None}
    assert cost_errors(np.array([1.1]), np.array([1.0])) == {"mape": pytest.approx(0.1), "kendall_tau": None}
    assert cost_errors(np.array([2.0, 2.0]), np.array([1.0, 4.0])) == {"mape": 0.75, "kendall_tau": 0.0}


def test_quality_is_json_and_adds_up():
    rng = np.random.default_rng(1)
    predicted, measured = rng.random(7) + 1, rng.random(7) + 1
    quality = json.loads(json.dumps(cost_quality(predicted, measured, fit_subnets=5), allow_nan=False))
    assert (quality["fit_subnets"], quality["test_subnets"]) == (5, 7)
    assert quality["mape"] == mape(predicted, measured) and quality["kendall_tau"] == kendall_tau(predicted, measured)
    assert np.array_equal(np.transpose(quality["pairs"]), [predicted, measured])


def test_top1_counts_over_unequal_batches():
    batches = [
        (torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])),
        (torch.tensor([[0.0, 1.0]]), torch.tensor([0])),
    ]
    assert top1(nn.Identity(), iter(batches)) == 0.5
    assert top1(nn.Identity(), batches[:1]) == pytest.approx(2 / 3)


def test_top1_of_a_runtimes_arrays_is_that_of_tensors():
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(n, 4, generator=generator), torch.arange(n) % 4) for n in (5, 2)]
    assert top1(nn.Identity(), batches) == top1(lambda images: images.numpy(), batches)
    with pytest.raises(ValueError, match="there are no images to score"):
        top1(nn.Identity(), [])
