"""Proxies as features: what they add where accuracy follows them, and a file that predicts the same."""

import numpy as np
import pytest

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.proxy_line import ScoredNetworks
from ofa.predictors.accuracy.quality import quality
from ofa.predictors.metrics import kendall_tau
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(2, SPACE.num_genes))
SCORED = SPACE.sample(80, RNG)
TRUTH = RNG.normal(size=2)


def values(codes):
    """Two made-up proxies: one spans many orders of magnitude."""
    linear = codes @ WEIGHTS.T
    return {"wide": np.exp(8 * linear[:, 0]), "plain": linear[:, 1]}


def accuracy(codes):
    return 0.5 + 0.02 * (codes @ WEIGHTS.T) @ TRUTH


def test_few_accuracies_say_more_beside_many_scored_networks(tmp_path):
    codes, others = SCORED[:12], SPACE.sample(150, np.random.default_rng(1))
    noisy = accuracy(codes) + 0.02 * np.random.default_rng(2).normal(size=len(codes))
    scored = ScoredNetworks(SCORED, values(SCORED))
    alone = AccuracyPredictor(SPACE).fit(codes, noisy)
    together = AccuracyPredictor(SPACE).fit(codes, noisy, proxies=scored)
    taus = [kendall_tau(each.predict(others), accuracy(others)) for each in (alone, together)]
    assert taus[1] > taus[0] + 0.05, taus

    together.save(tmp_path)
    again = AccuracyPredictor.load(tmp_path)
    for one, other in zip(*(each.predict(others, return_std=True) for each in (together, again)), strict=True):
        np.testing.assert_array_equal(one, other)
    alone.save(tmp_path)
    assert AccuracyPredictor.load(tmp_path).proxy_line_ is None


@pytest.mark.parametrize("kind", ["gp", "trees"])
def test_every_kind_learns_what_the_line_leaves(kind):
    # Accuracy follows another thing than the proxies: they must not hide it.
    truth = 0.4 + 0.1 * SCORED.mean(axis=1)
    scored = ScoredNetworks(SCORED, {"noise": np.random.default_rng(3).normal(size=len(SCORED))})
    assert quality(SPACE, SCORED, truth, kind=kind, proxies=scored)["kendall_tau"] > 0.5


def test_a_proxy_without_values_ranks_last_and_wrong_shapes_are_named():
    unknown = {**values(SCORED), "plain": np.full(len(SCORED), np.nan)}
    fitted = AccuracyPredictor(SPACE).fit(SCORED, accuracy(SCORED), proxies=ScoredNetworks(SCORED, unknown))
    assert np.isfinite(fitted.predict(SCORED)).all()
    for wrong in ({}, {"plain": np.zeros(3)}):
        with pytest.raises(ValueError, match="80 scored networks need a value each by every proxy"):
            AccuracyPredictor(SPACE).fit(SCORED, accuracy(SCORED), proxies=ScoredNetworks(SCORED, wrong))
