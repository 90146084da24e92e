"""Which whole networks are timed: distinct ones, spread over work and over weights."""

import numpy as np
import pytest

from ofa.predictors.costs.counts import macs_table
from ofa.predictors.costs.latency.networks import timed_networks
from ofa.predictors.costs.memory import flash
from ofa.predictors.sampling import fit_and_test
from ofa.supernet.space import SearchSpace

HEAD = {"num_classes": 10, "in_chans": 3}
SPACE = SearchSpace.preset("tiny_mbv3")


def chosen(space, fit, test, seed=0):
    rng = np.random.default_rng(seed)
    return timed_networks(space, macs_table(space, **HEAD), flash(space, **HEAD), fit=fit, test=test, rng=rng)


@pytest.mark.parametrize("seed", range(3))
def test_all_are_distinct_and_as_many_as_wanted(seed):
    fitted, tested = chosen(SPACE, 16, 8, seed)
    assert (len(fitted), len(tested)) == (16, 8)
    assert len(np.unique(np.concatenate([fitted, tested]), axis=0)) == 24
    assert np.array_equal(SPACE.canonical(fitted), fitted) and fitted.dtype == np.int8


def test_small_resolutions_are_there_too():
    """Networks spread over MACs alone are mostly of the largest resolution."""
    space = SearchSpace.from_dict({**SPACE.to_dict(), "resolutions": [32, 48, 96]})
    smaller = np.zeros(2, int)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        by_macs, tested = fit_and_test(space, macs_table(space, **HEAD), fit=16, test=8, rng=rng)
        fitted, same = chosen(space, 16, 8, seed)
        assert np.array_equal(same, tested), "the table is judged on the networks that it was before"
        smaller += [np.sum(codes[:, space.genes_of("resolution")] < 2) for codes in (fitted, by_macs)]
    assert smaller[0] > 1.3 * smaller[1]


@pytest.mark.parametrize(("fit", "test"), [(1, 0), (1, 1), (2, 1), (16, 8)])
def test_small_spaces_are_shared(fit, test):
    stage = {"width": 8, "depths": [1, 2], "kernels": [3], "expands": [2]}
    space = SearchSpace.from_dict({**SPACE.to_dict(), "resolutions": [32, 64], "stages": [stage]})
    fitted, tested = chosen(space, fit, test)
    assert len(fitted) + len(tested) == min(fit + test, space.size) and len(fitted) >= 1
    assert len(np.unique(np.concatenate([fitted, tested]), axis=0)) == len(fitted) + len(tested)
