"""Fits and predictions run with one BLAS thread, whatever the caller has, and give it back."""

from dataclasses import replace

import numpy as np
import pytest
import threadpoolctl

from ofa.predictors.accuracy import predictor as module
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.blas import one_blas_thread
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.parts import PartLookup
from ofa.predictors.costs.regression import fit_costs
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")


def blas_threads():
    return {one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"}


@pytest.fixture
def two_threads():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("the BLAS here has one thread")
        yield


class Spy:
    """A regressor that notes the BLAS threads that it is given."""

    def __init__(self):
        self.seen = set()

    def __deepcopy__(self, memo):
        return self

    def fit(self, inputs, targets):
        self.seen |= blas_threads()
        return self

    def predict(self, inputs):
        self.seen |= blas_threads()
        return np.zeros(len(inputs))


def test_a_predictor_has_one_thread(two_threads, tmp_path, monkeypatch):
    codes, spy = SPACE.sample(30, np.random.default_rng(0)), Spy()
    accuracy = codes.mean(axis=1)
    AccuracyPredictor(SPACE, model=spy).fit(codes, accuracy).predict(codes)
    assert spy.seen == {1}
    seen = set()

    class Loaded(module.KINDS["gp"].load()):
        def __init__(self, *args):
            seen.update(blas_threads())
            super().__init__(*args)

    AccuracyPredictor(SPACE).fit(codes, accuracy).save(tmp_path)
    monkeypatch.setitem(module.KINDS, "gp", replace(module.KINDS["gp"], load=lambda: Loaded))
    AccuracyPredictor.load(tmp_path)
    assert seen == {1}
    assert blas_threads() == {2}


def test_so_has_a_prediction_of_costs(two_threads, monkeypatch):
    """Its matrix product is large enough for threads, which on a busy machine made it over ten times slower."""
    seen, original = set(), PartLookup.costs

    def costs(lookup, codes):
        seen.update(blas_threads())
        return original(lookup, codes)

    monkeypatch.setattr(PartLookup, "costs", costs)
    table = CostTable.macs(SPACE, num_classes=10)
    codes = SPACE.sample(3000, np.random.default_rng(0))
    table.predict(codes)
    table.predict_parts(codes)
    assert seen == {1} and blas_threads() == {2}


def test_so_has_a_fitted_cost_table(two_threads, monkeypatch):
    seen, codes, original = set(), SPACE.sample(30, np.random.default_rng(0)), np.mean

    def mean(*args, **options):
        seen.update(blas_threads())
        return original(*args, **options)

    monkeypatch.setattr(np, "mean", mean)
    fit_costs(SPACE, codes, 1.0 + codes.sum(axis=1))
    assert seen == {1}


def test_the_callers_threads_come_back_after_an_error(two_threads):
    @one_blas_thread
    def fails():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert blas_threads() == {2}
