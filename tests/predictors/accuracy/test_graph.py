"""Graph networks over blocks, and fits to the order of accuracies."""

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from ofa.predictors.accuracy import gradient
from ofa.predictors.accuracy.graph import GraphEnsemble
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.selection import compare
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.space import SearchSpace

ELASTIC = SearchSpace.preset("tiny_mbv3")
FLAT = CategoricalSpace([3] * 6, roles=["layer"] * 6)
RANKED = [("graph", "squares"), ("graph", "ranking"), ("mlp", "ranking")]


def truth(codes):
    """Later layers help more, and two alike in a row help once."""
    return 70.0 + codes @ np.arange(1, 7) - 3 * (codes[:, 1:] == codes[:, :-1]).sum(axis=1)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(gradient, "_STEPS", 60)


@pytest.mark.parametrize("space", [ELASTIC, FLAT], ids=["elastic", "flat"])
def test_nodes_tell_networks_apart_and_those_that_do_not_run_say_nothing(space):
    codes = np.unique(space.sample(1000, np.random.default_rng(0)), axis=0)
    nodes = GraphEnsemble.inputs(space, codes)
    assert len(np.unique(nodes.reshape(len(codes), -1), axis=0)) == len(codes)
    assert nodes.shape[1] == len(space.blocks) + sum(gene.block is None for gene in space.genes)
    assert nodes[:, :, 2 + nodes.shape[1] :].sum() == space.active_genes(codes).sum()
    assert np.array_equal(nodes[:, : len(space.blocks), 0], space.active(codes))
    assert np.array_equal(GraphEnsemble.inputs(space, codes[4:5]), nodes[4:5])


@pytest.mark.parametrize(("kind", "loss"), RANKED)
def test_ranks_unseen_networks_and_comes_back_from_disk_as_it_was(kind, loss, tmp_path):
    codes = FLAT.sample(80, np.random.default_rng(0))
    unseen = FLAT.sample(400, np.random.default_rng(1))
    predictor = AccuracyPredictor(FLAT, kind=kind, loss=loss, seed=2).fit(codes, truth(codes))
    mean, std = predictor.predict(unseen, return_std=True)
    assert kendalltau(mean, truth(unseen)).statistic > 0.6
    assert np.sqrt(np.mean((mean - truth(unseen)) ** 2)) < 0.6 * truth(unseen).std() and (std > 0).all()
    assert np.allclose(predictor.predict(unseen[7:9]), mean[7:9], rtol=1e-12)

    again = AccuracyPredictor(FLAT, kind=kind, loss=loss, seed=2).fit(codes, truth(codes))
    assert np.array_equal(again.predict(unseen), mean)
    predictor.save(tmp_path)
    loaded = AccuracyPredictor.load(tmp_path)
    assert (loaded.kind, loaded.loss) == (kind, loss) and np.array_equal(loaded.predict(unseen), mean)


def test_the_order_alone_decides_a_fit_by_ranking_until_the_unit_is_set():
    rng, targets = np.random.default_rng(0), np.array([1.0, 2.0, 5.0, 9.0])
    inputs = rng.normal(size=(4, 3))

    def fitted(targets):
        weights = {"last": torch.zeros(3), "last_bias": torch.zeros(())}
        return gradient.fit_by_gradient(linear, weights, inputs, targets, loss="ranking")

    def linear(weights, data):
        return data @ weights["last"] + weights["last_bias"]

    one, other = fitted(targets)["last"], fitted(np.exp(targets))["last"]
    np.testing.assert_allclose(one / np.linalg.norm(one), other / np.linalg.norm(other), rtol=1e-4)
    assert (inputs @ one).argmax() == 3
    assert (inputs @ one + fitted(targets)["last_bias"]).mean() == pytest.approx(targets.mean(), abs=1e-4)
    assert gradient.ranking_loss(torch.ones(3, requires_grad=True), torch.ones(3)) == 0


def test_constant_accuracies_and_losses_that_a_kind_has_not():
    codes = FLAT.sample(12, np.random.default_rng(0))
    for kind, loss in RANKED:
        predictor = AccuracyPredictor(FLAT, kind=kind, loss=loss).fit(codes, np.full(12, 0.5))
        assert np.allclose(predictor.predict(FLAT.sample(20, np.random.default_rng(1))), 0.5, atol=0.05)
    assert AccuracyPredictor(FLAT, kind="auto", loss="ranking").fit(codes, truth(codes)).kind_ == "mlp"
    assert set(compare(FLAT, codes, truth(codes) - 80, 0, loss="ranking")) == {"mlp"}
    with pytest.raises(ValueError, match="kind 'gp' has no loss 'ranking'; take kind 'mlp' or 'graph'"):
        AccuracyPredictor(FLAT, loss="ranking").fit(codes, truth(codes))
    with pytest.raises(ValueError, match="loss is 'hinge'; there are 'squares', 'ranking'"):
        AccuracyPredictor(FLAT, kind="mlp", loss="hinge").fit(codes, truth(codes))
