"""What each kind of predictor promises beyond the calls they share, and how one of them is chosen."""

import json

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import Ridge

from ofa.predictors.accuracy import gp, trees
from ofa.predictors.accuracy.features import feature_groups, features
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.quality import quality
from ofa.predictors.metrics import kendall_tau
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.space import SearchSpace

SPACES = {
    "tiny_mbv3": SearchSpace.preset("tiny_mbv3"),
    "categorical": CategoricalSpace([3, 2, 3, 2, 3, 4], roles=["kernel", "excite", "kernel", "excite", "kernel", "l"]),
}
SPACE = SPACES["categorical"]


def stepped(codes):
    """An accuracy of counts and interactions, as tables of networks have them."""
    return 70 + 3.0 * (codes[:, [0, 2, 4]] == 2).sum(axis=1) + 2.0 * (codes[:, 1] & (codes[:, 5] > 1)) - codes[:, 3]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_groups_cover_every_column_once(space):
    groups = feature_groups(space)
    columns = features(space, space.sample(3, np.random.default_rng(0))).shape[1]
    assert [column for group in groups for column in range(group.start, group.stop)] == list(range(columns))
    assert len(groups) > 3


def test_features_of_choices_tell_networks_apart_and_count_within_roles():
    codes = np.unique(SPACE.sample(3000, np.random.default_rng(0)), axis=0)
    columns = features(SPACE, codes)
    assert columns.dtype == np.float32 and len(np.unique(columns, axis=0)) == len(codes) == SPACE.size
    assert np.array_equal(features(SPACE, codes[5:6]), columns[5:6])
    counted = columns[:, feature_groups(SPACE)[2]]
    assert np.allclose(counted.sum(axis=1), counted.sum(axis=1)[0])
    swapped = codes[:, [2, 1, 0, 3, 4, 5]]
    assert np.array_equal(features(SPACE, swapped)[:, feature_groups(SPACE)[2]], counted)


def test_gradient_of_the_likelihood():
    rng = np.random.default_rng(0)
    inputs = features(SPACE, SPACE.sample(30, rng)).astype(float)
    distances = np.stack([gp._squared_distances(inputs[:, one], inputs[:, one]) for one in feature_groups(SPACE)])
    start, targets = gp._start(SPACE), rng.normal(size=30)
    theta = start + rng.normal(0, 0.5, len(start))
    arguments = (start, distances, targets)
    error = check_grad(lambda x: gp._loss(x, *arguments)[0], lambda x: gp._loss(x, *arguments)[1], theta)
    assert error < 1e-4 * np.linalg.norm(gp._loss(theta, *arguments)[1])


def test_gaussian_process_asks_for_other_resolutions_than_it_knows():
    space = SPACES["tiny_mbv3"]
    codes = space.sample(60, np.random.default_rng(0))
    codes[:, 0] = 4
    depth = codes[:, space.genes_of("depth")].sum(axis=1).astype(float)
    other = codes.copy()
    other[:, 0] = 0
    assert kendall_tau(AccuracyPredictor(space).fit(codes, depth).predict(other), depth) > 0.8


def test_trees_are_those_of_scikit_learn():
    codes = SPACE.sample(150, np.random.default_rng(0))
    inputs = features(SPACE, codes).astype(float)
    targets = stepped(codes) - 75.0
    member = trees.GradientBoostingEnsemble.fit_member(inputs, targets, 7)
    settings = {"max_depth": 4, "subsample": 0.7, "max_features": 0.3, "min_samples_leaf": 2, "random_state": 7}
    theirs = GradientBoostingRegressor(n_estimators=150, learning_rate=0.1, **settings).fit(inputs, targets)
    unseen = features(SPACE, SPACE.sample(400, np.random.default_rng(1))).astype(float)
    np.testing.assert_allclose(
        trees.GradientBoostingEnsemble.predict_member(member, unseen), theirs.predict(unseen), rtol=1e-9
    )
    assert trees.GradientBoostingEnsemble.predict_member(member, unseen[:0]).shape == (0,)


def test_auto_reports_all_and_takes_the_best(tmp_path):
    codes = SPACE.sample(60, np.random.default_rng(0))
    accuracy = stepped(codes) + np.random.default_rng(1).normal(0, 0.3, 60)
    predictor = AccuracyPredictor(SPACE, kind="auto", seed=1).fit(codes, accuracy)
    assert set(predictor.scores_) == {"gp", "mlp", "trees"}
    assert predictor.scores_[predictor.kind_] == max(predictor.scores_.values()) > 0.5
    unseen = SPACE.sample(300, np.random.default_rng(2))
    alone = AccuracyPredictor(SPACE, kind=predictor.kind_, seed=1).fit(codes, accuracy)
    assert np.array_equal(alone.predict(unseen), predictor.predict(unseen)) and alone.scores_ == {}
    predictor.save(tmp_path)
    loaded = AccuracyPredictor.load(tmp_path)
    assert (loaded.kind, loaded.kind_, loaded.scores_) == ("auto", predictor.kind_, predictor.scores_)
    assert loaded.space == SPACE
    for before, after in zip(
        predictor.predict(unseen, return_std=True), loaded.predict(unseen, return_std=True), strict=True
    ):
        assert np.array_equal(before, after)


def test_auto_chooses_by_score_and_not_by_name(monkeypatch):
    codes = SPACE.sample(40, np.random.default_rng(0))
    for best in ("gp", "mlp", "trees"):
        scores = {"gp": 0.1, "mlp": 0.1, "trees": 0.1} | {best: 0.2}
        monkeypatch.setattr("ofa.predictors.accuracy.predictor.compare", lambda *_, scores=scores: scores)
        predictor = AccuracyPredictor(SPACE, kind="auto").fit(codes, stepped(codes))
        assert predictor.kind_ == best
        assert type(predictor.model_) is type(AccuracyPredictor(SPACE, kind=best).fit(codes, stepped(codes)).model_)


def test_auto_of_few_or_equal_rows_is_the_gaussian_process():
    codes = SPACE.sample(30, np.random.default_rng(0))
    for some, accuracy in ((codes[:19], stepped(codes[:19])), (codes, np.full(30, 0.7))):
        predictor = AccuracyPredictor(SPACE, kind="auto").fit(some, accuracy)
        assert (predictor.kind_, predictor.scores_) == ("gp", {})


def test_quality_of_auto_says_what_was_chosen():
    codes = SPACE.sample(40, np.random.default_rng(0))
    found = quality(SPACE, codes, stepped(codes), kind="auto")
    assert json.loads(json.dumps(found)) == found
    assert found["kind"] in found["scores"] and found["scores"][found["kind"]] == max(found["scores"].values())


class Plain:
    """A regressor that is no scikit-learn estimator."""

    def fit(self, inputs, targets):
        self.weights = np.linalg.lstsq(inputs, targets, rcond=None)[0]
        return self

    def predict(self, inputs):
        return (inputs @ self.weights)[:, None]


@pytest.mark.parametrize("model", [Ridge(alpha=0.1), Plain()], ids=["Ridge", "Plain"])
def test_any_regressor_plugs_in(model, tmp_path):
    space = SPACES["tiny_mbv3"]
    rng = np.random.default_rng(0)
    codes, unseen = space.sample(400, rng), space.sample(400, rng)
    predictor = AccuracyPredictor(space, model=model).fit(codes, codes.sum(axis=1) + rng.normal(0, 1, 400))
    mean, std = predictor.predict(unseen, return_std=True)
    again = unseen.sum(axis=1) + rng.normal(0, 1, 400)
    assert kendall_tau(mean, again) > 0.7 and 0.6 < np.mean(np.abs(mean - again) <= std) < 0.76
    assert predictor.kind_ == type(model).__name__ and not hasattr(model, "coef_") and not hasattr(model, "weights")
    assert np.array_equal(clone(predictor).fit(codes, codes.sum(axis=1)).predict(codes[:0]), [])
    with pytest.raises(ValueError, match=f"{type(model).__name__} cannot be stored.*pickle.*'gp'"):
        predictor.save(tmp_path / "predictor")
    assert not (tmp_path / "predictor").exists()
    assert "kind" not in quality(space, codes[:40], codes[:40].sum(axis=1), model=model)


@pytest.mark.parametrize("model", [Ridge, "ridge", object()], ids=["a class", "a name", "an object"])
def test_what_is_no_regressor_is_refused(model):
    codes = SPACE.sample(20, np.random.default_rng(0))
    with pytest.raises(ValueError, match="fit and predict"):
        AccuracyPredictor(SPACE, model=model).fit(codes, stepped(codes))


def test_a_regressor_without_numbers_is_named():
    class Broken(Plain):
        def predict(self, inputs):
            return np.full(len(inputs), np.nan)

    codes = SPACE.sample(20, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"Broken.*no numbers"):
        AccuracyPredictor(SPACE, model=Broken()).fit(codes, stepped(codes))
