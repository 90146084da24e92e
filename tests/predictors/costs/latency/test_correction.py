"""The correction from sums of parts to whole networks, on made-up times."""

import numpy as np
import pytest

from ofa.predictors.costs.latency.correction import cold_fraction, correction
from ofa.predictors.metrics import mape


def made_up(n, seed=0, groups=7):
    return np.random.default_rng(seed).uniform(0.2, 2.0, size=(n, groups))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.8, 0.3), (1.5, -0.1)])
def test_a_straight_line_is_found_exactly(slope, intercept):
    groups = made_up(16)
    factors, found = correction(groups, slope * groups.sum(axis=1) + intercept)
    assert factors == pytest.approx(np.full(7, slope)) and found == pytest.approx(intercept)


def test_groups_that_differ_are_told_apart():
    groups, others = made_up(24), made_up(200, seed=1)
    truth = np.array([0.7, 1.6, 1.0, 1.0, 0.9, 1.3, 1.0])
    factors, intercept = correction(groups, groups @ truth + 0.5)
    wanted = others @ truth + 0.5
    line = np.polyfit(groups.sum(axis=1), groups @ truth + 0.5, 1)
    ours, plain = (
        mape(found, wanted) for found in (others @ factors + intercept, np.polyval(line, others.sum(axis=1)))
    )
    assert ours < 0.4 * plain


def test_without_spread_it_is_a_factor():
    for groups, measured, factor in (([[2.0], [2.0]], [3.0, 3.0], 1.5), ([[2.0]], [1.0], 0.5)):
        factors, intercept = correction(np.array(groups), np.array(measured))
        assert factors == pytest.approx([factor]) and intercept == pytest.approx(0, abs=1e-9)


def test_noise_makes_no_negative_factors():
    for seed in range(20):
        groups = made_up(5, seed=seed)
        measured = np.random.default_rng(seed + 100).uniform(1, 5, size=5)
        factors, intercept = correction(groups, measured)
        assert (factors >= 0).all() and intercept >= -measured.min() / 2 - 1e-9


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_cold_and_warm_are_told_apart(share):
    cold, warm = made_up(12), made_up(12, seed=1)
    assert cold_fraction(cold, warm, 1.1 * (share * cold + (1 - share) * warm).sum(axis=1)) == share
