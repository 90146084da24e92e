"""Subnets to measure are spread over their cost; a fit and its test share them."""

from itertools import pairwise, product

import numpy as np
import pytest

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.sampling import fit_and_test, stratified_sample
from ofa.supernet import families
from ofa.supernet.space import SearchSpace

SPACES = {name: SearchSpace.preset(name) for name in families.presets()}
SMALL = SearchSpace.from_dict(
    {
        "resolutions": [16, 24],
        "stages": [
            {"width": 8, "depths": [1, 3], "kernels": [3], "expands": [2, 4]},
            {"width": 16, "depths": [1], "kernels": [3, 5], "expands": [2, 3, 6]},
        ],
    }
)


def macs(space):
    return CostTable.macs(space, num_classes=10)


def gaps(costs):
    """Differences of neighbours, as shares of the whole range."""
    return np.diff(np.sort(costs)) / np.ptp(costs)


@pytest.mark.parametrize("n", [8, 40, 150])
@pytest.mark.parametrize("name", SPACES)
def test_spread_evenly_from_end_to_end(name, n):
    space = SPACES[name]
    table = macs(space)
    codes = stratified_sample(space, n, table, np.random.default_rng(0))
    assert codes.shape == (n, space.num_genes) and codes.dtype == np.int8
    assert np.array_equal(space.canonical(codes), codes)
    assert len(np.unique(codes, axis=0)) == n

    costs = table.predict(codes)
    assert np.array_equal(costs, np.sort(costs))
    assert np.array_equal(codes[0], space.encode(space.smallest))
    assert np.array_equal(codes[-1], space.encode(space.largest))
    # Networks near the ends are rare, so neighbours there lie further apart than one interval.
    assert gaps(costs).max() < 1 / (n - 1) + 0.12
    ideal = np.linspace(costs[0], costs[-1], n)
    assert np.abs(costs - ideal).mean() < 0.02 * np.ptp(costs)

    ends = np.stack([space.encode(space.smallest), space.encode(space.largest)])
    uniform = np.concatenate([ends, space.sample(n - 2, np.random.default_rng(0))])
    assert gaps(costs).max() < 0.7 * gaps(table.predict(uniform)).max()


def test_depends_on_the_generator_alone():
    space = SPACES["tiny_mbv3"]
    np.random.seed(0)  # noqa: NPY002
    first = stratified_sample(space, 30, macs(space), np.random.default_rng(1))
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(stratified_sample(space, 30, macs(space), np.random.default_rng(1)), first)
    assert not np.array_equal(stratified_sample(space, 30, macs(space), np.random.default_rng(2)), first)


@pytest.mark.parametrize("more", [0, 1, 1000])
def test_whole_space_when_it_has_no_more(more):
    every = np.array(list(product(*map(range, SMALL.num_options))), np.int8)
    every = np.unique(SMALL.canonical(every), axis=0)
    codes = stratified_sample(SMALL, SMALL.size + more, macs(SMALL), np.random.default_rng(0))
    assert len(codes) == SMALL.size == len(every)
    assert np.array_equal(np.unique(codes, axis=0), every)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few(n):
    codes = stratified_sample(SMALL, n, macs(SMALL), np.random.default_rng(0))
    assert len(np.unique(codes, axis=0)) == len(codes) == n
    if n > 1:
        assert [SMALL.decode(code) for code in codes[[0, -1]]] == [SMALL.smallest, SMALL.largest]
    assert all(one <= other for one, other in pairwise(macs(SMALL).predict(codes)))


def test_space_of_one_network():
    one = SearchSpace.from_dict(
        {"resolutions": [16], "stages": [{"width": 8, "depths": [1], "kernels": [3], "expands": [2]}]}
    )
    codes = stratified_sample(one, 5, macs(one), np.random.default_rng(0))
    assert codes.tolist() == [one.encode(one.largest).tolist()]


@pytest.mark.parametrize(
    ("n_networks", "fit", "test", "expected"),
    [(None, 6, 4, (6, 4)), (10, 16, 8, (7, 3)), (2, 16, 8, (1, 1)), (1, 16, 8, (1, 0)), (2, 10, 0, (2, 0))],
)
def test_a_space_is_shared_between_fit_and_test(n_networks, fit, test, expected):
    """``n_networks`` resolutions of one network, or a larger space."""
    space = SMALL
    if n_networks is not None:
        sides = [16 + 8 * index for index in range(n_networks)]
        stage = {"width": 8, "depths": [1], "kernels": [3], "expands": [2]}
        space = SearchSpace.from_dict({"resolutions": sides, "stages": [stage]})
    codes = fit_and_test(space, macs(space), fit=fit, test=test, rng=np.random.default_rng(0))
    assert tuple(map(len, codes)) == expected
    assert len(np.unique(np.concatenate(codes), axis=0)) == sum(expected)
