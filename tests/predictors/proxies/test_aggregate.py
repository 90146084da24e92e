"""Ranks of a population, and the networks that are measured because of them."""

import numpy as np
import pytest

from ofa.predictors.proxies.aggregate import aggregate
from ofa.predictors.proxies.sampling import denser_above


def test_ranks_are_added_in_their_logarithms():
    ranks = aggregate({"a": [1.0, 2.0, 3.0], "b": [10.0, 10.0, 30.0]})
    np.testing.assert_allclose(ranks, np.log([1 / 3 * 1.5 / 3, 2 / 3 * 1.5 / 3, 1]))
    values = np.random.default_rng(0).normal(size=(2, 20))
    np.testing.assert_allclose(aggregate(dict(enumerate(values))), aggregate(dict(enumerate(np.exp(values)))))


def test_a_network_without_a_value_ranks_last():
    ranks = aggregate({"a": [np.nan, -1e300, -np.inf, 2.0]})
    assert ranks[3] > ranks[1] > ranks[0] == ranks[2]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"a": [1.0]}, "two networks or more; of one network, take single proxies"),
        ({"a": [1.0, 2.0], "b": [1.0]}, "give one value a network for each proxy"),
        ({}, "give one value a network for each proxy"),
    ],
)
def test_no_ranks_without_a_population(scores, message):
    with pytest.raises(ValueError, match=message):
        aggregate(scores)


@pytest.mark.parametrize("n", [3, 10, 37])
def test_measured_networks_are_spread_over_cost_and_mostly_well_ranked(n):
    rng = np.random.default_rng(n)
    costs, ranks = rng.lognormal(size=150), rng.normal(size=150)
    chosen = denser_above(ranks, costs, n=n, rng=np.random.default_rng(0))
    assert len(set(chosen.tolist())) == n and {costs.argmin(), costs.argmax()} <= set(chosen.tolist())
    assert np.array_equal(chosen, denser_above(ranks, costs, n=n, rng=np.random.default_rng(0)))
    places = np.sort(np.argsort(np.argsort(costs))[chosen])
    assert np.diff(places).max() <= 2 * 148 / (n - 2) + 1  # no part of the costs is left out
    if n == 37:
        assert np.mean(ranks[chosen] > np.median(ranks)) > 0.7
        assert ranks[chosen].min() < np.median(ranks)


def test_few_networks_are_all_chosen():
    assert denser_above(np.zeros(4), np.arange(4.0), n=9, rng=np.random.default_rng(0)).tolist() == [0, 1, 2, 3]
