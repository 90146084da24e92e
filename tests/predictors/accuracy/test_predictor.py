"""The predictors on a made-up accuracy with the traits of a real one: it rises with size and saturates, plus noise."""

import json
import warnings

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from ofa.predictors.accuracy.features import features
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.quality import quality
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")
KINDS = ["gp", "mlp", "trees"]


def truth(codes):
    """Accuracy in percent: each gene helps by its own amount, with diminishing returns of the whole."""
    weights = np.random.default_rng(7).uniform(0.2, 1, SPACE.num_genes) * np.where(np.arange(SPACE.num_genes) < 4, 3, 1)
    return 97 - 25 * np.exp(-((codes + 1.0) * SPACE.active_genes(codes)) @ weights / 25)


def measured(n, *, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    codes = SPACE.sample(n, rng)
    return codes, truth(codes) + rng.normal(0, noise, n)


@pytest.mark.parametrize("name", ["tiny_mbv3", "ofa_mbv3"])
def test_features_tell_networks_apart_and_ignore_inactive_blocks(name):
    space = SearchSpace.preset(name)
    codes = np.unique(space.sample(2000, np.random.default_rng(0)), axis=0)
    columns = features(space, codes)
    assert columns.dtype == np.float32 and columns.shape == (len(codes), features(space, codes[:1]).shape[1])
    assert np.isfinite(columns).all()
    assert len(np.unique(columns, axis=0)) == len(codes)
    # Kernel and expand columns of blocks that are off are 0, so a smaller network has fewer of them.
    ranks = columns[:, 1 : 1 + 2 * len(space.blocks)]
    assert ((ranks > 0).sum(axis=1) == 2 * space.active(codes).sum(axis=1)).all()


def test_features_of_a_row_do_not_hang_on_other_rows():
    codes = SPACE.sample(50, np.random.default_rng(0))
    assert np.array_equal(features(SPACE, codes)[7:8], features(SPACE, codes[7:8]))
    assert features(SPACE, codes[:0]).shape == (0, features(SPACE, codes).shape[1])


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_unseen_networks_and_knows_its_error(kind):
    codes, accuracy = measured(120)
    unseen = SPACE.sample(1000, np.random.default_rng(1))
    predictor = AccuracyPredictor(SPACE, kind=kind)
    assert predictor.fit(codes, accuracy) is predictor
    mean, std = predictor.predict(unseen, return_std=True)
    assert mean.dtype == std.dtype == np.float64 and mean.shape == std.shape == (1000,)
    assert kendalltau(mean, truth(unseen)).statistic > 0.9
    assert np.sqrt(np.mean((mean - truth(unseen)) ** 2)) < 0.3 * truth(unseen).std()
    again = truth(unseen) + np.random.default_rng(2).normal(0, 0.1, 1000)
    assert 0.5 < np.mean(np.abs(mean - again) <= std) < 0.9
    assert np.array_equal(predictor.predict(unseen), mean)


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_one_result_in_any_unit(kind):
    codes, accuracy = measured(40)
    first = AccuracyPredictor(SPACE, kind=kind, seed=3).fit(codes, accuracy)
    assert np.array_equal(first.predict(codes), clone(first).fit(codes, accuracy).predict(codes))
    scaled = clone(first).fit(codes, accuracy / 100)
    for large, small in zip(first.predict(codes, return_std=True), scaled.predict(codes, return_std=True), strict=True):
        np.testing.assert_allclose(large / 100, small, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_reloaded_predicts_bit_for_bit(kind, tmp_path):
    codes, accuracy = measured(60)
    saved = AccuracyPredictor(SPACE, kind=kind, seed=5).fit(codes, accuracy)
    saved.save(tmp_path / "predictor")
    loaded = AccuracyPredictor.load(tmp_path / "predictor")
    unseen = SPACE.sample(5000, np.random.default_rng(1))
    for before, after in zip(
        saved.predict(unseen, return_std=True), loaded.predict(unseen, return_std=True), strict=True
    ):
        assert np.array_equal(before, after)
    assert (loaded.kind, loaded.seed, loaded.space.to_dict()) == (kind, 5, SPACE.to_dict())
    assert sorted(path.name for path in (tmp_path / "predictor").iterdir()) == ["predictor.json", "predictor.npz"]
    # The loaded one can be stored again, and still is the same.
    loaded.save(tmp_path / "again")
    assert np.array_equal(AccuracyPredictor.load(tmp_path / "again").predict(unseen), saved.predict(unseen))


def _flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "one bit": _flip,
    "other": lambda path: path.write_bytes(b"[1, 2]"),
}


@pytest.mark.parametrize("name", ["predictor.json", "predictor.npz"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_names_the_file(name, damage, tmp_path):
    AccuracyPredictor(SPACE).fit(*measured(10)).save(tmp_path)
    AccuracyPredictor.load(tmp_path)
    DAMAGES[damage](tmp_path / name)
    with pytest.raises(ValueError, match=name):
        AccuracyPredictor.load(tmp_path)


def test_files_of_two_predictors_are_not_mixed(tmp_path):
    for number in (0, 1):
        AccuracyPredictor(SPACE).fit(*measured(20, seed=number)).save(tmp_path / str(number))
    (tmp_path / "0" / "predictor.npz").replace(tmp_path / "1" / "predictor.npz")
    with pytest.raises(ValueError, match=r"predictor\.npz"):
        AccuracyPredictor.load(tmp_path / "1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.1, 71.3])
def test_constant_accuracy_is_predicted_everywhere(kind, value):
    codes, _ = measured(12)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        predictor = AccuracyPredictor(SPACE, kind=kind).fit(codes, np.full(12, value))
        mean, std = predictor.predict(SPACE.sample(100, np.random.default_rng(1)), return_std=True)
    np.testing.assert_allclose(mean, value, atol=0.05)
    assert np.isfinite(std).all() and (std >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_rows_and_quiet_fits(kind):
    codes, _ = measured(15)
    codes = np.concatenate([codes] * 4)
    accuracy = truth(codes) + np.random.default_rng(0).normal(0, 0.5, len(codes))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        mean, std = AccuracyPredictor(SPACE, kind=kind).fit(codes, accuracy).predict(codes[:15], return_std=True)
    # Each is near the average of its four measurements, which alone is within 0.25 of the truth.
    assert np.abs(mean - accuracy.reshape(4, 15).mean(axis=0)).mean() < 0.5
    assert (std > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_many_networks_at_once_equal_few(kind):
    predictor = AccuracyPredictor(SPACE, kind=kind).fit(*measured(30))
    codes = SPACE.sample(9000, np.random.default_rng(0))
    np.testing.assert_allclose(predictor.predict(codes)[8990:], predictor.predict(codes[8990:]), rtol=1e-12)
    assert predictor.predict(codes[:0]).shape == (0,)


def test_bad_rows_are_refused():
    codes, accuracy = measured(10)
    predictor = AccuracyPredictor(SPACE)
    with pytest.raises(NotFittedError):
        predictor.predict(codes)
    cases = {
        r"codes have the shape": (codes[:, 1:], accuracy),
        r"need \(10,\)": (codes, accuracy[:9]),
        r"accuracy\[3\]": (codes, np.where(np.arange(10) == 3, np.inf, accuracy)),
        r"at least 5 rows": (codes[:4], accuracy[:4]),
        r"4 rows of 4 networks \(6 more have no accuracy\)": (codes, np.where(np.arange(10) < 4, accuracy, np.nan)),
        r"2 networks": (codes[[0] * 10], accuracy),
    }
    for message, (wrong_codes, wrong_accuracy) in cases.items():
        with pytest.raises(ValueError, match=message):
            predictor.fit(wrong_codes, wrong_accuracy)
    with pytest.raises(ValueError, match="forest"):
        AccuracyPredictor(SPACE, kind="forest").fit(codes, accuracy)


def test_rows_without_an_accuracy_are_dropped_and_counted():
    codes, accuracy = measured(30)
    holes = np.where(np.arange(30) % 3 == 1, np.nan, accuracy)
    kept = ~np.isnan(holes)
    predictor, expected = (
        AccuracyPredictor(SPACE).fit(*rows) for rows in ((codes, holes), (codes[kept], accuracy[kept]))
    )
    assert (predictor.dropped_, expected.dropped_) == (10, 0)
    assert np.array_equal(predictor.predict(codes), expected.predict(codes))
    judged = quality(SPACE, codes, holes, seed=0)
    assert judged.pop("rows_dropped") == 10
    expected = quality(SPACE, codes[kept], accuracy[kept], seed=0)
    assert judged == {key: value for key, value in expected.items() if key != "rows_dropped"}


@pytest.mark.parametrize("kind", KINDS)
def test_quality_is_judged_on_networks_left_out(kind):
    codes, accuracy = measured(100)
    result = quality(SPACE, codes, accuracy, kind=kind, seed=0)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    predicted, std, truths = np.array(result.pop("held_out")).T
    assert all(type(value) is float for value in result.values())
    assert len(truths) == 20 and np.isin(truths, accuracy).all()
    assert result["rmse"] == pytest.approx(np.sqrt(np.mean((predicted - truths) ** 2)))
    assert result["calibration"] == np.mean(np.abs(predicted - truths) <= std)
    assert result["rows_fitted"] + result["rows_held_out"] == 100 and result["rows_held_out"] == 20
    assert result["kendall_tau"] > 0.8 and 0 < result["mae"] <= result["rmse"] < accuracy.std()
    assert 0.3 <= result["calibration"] <= 1
    # Accuracies that have nothing to do with the networks cannot be ranked, even though each is in the rows five times.
    noise = np.random.default_rng(1).normal(size=100)
    repeated = quality(SPACE, np.repeat(codes, 5, axis=0), np.repeat(noise, 5), kind=kind, seed=0)
    assert abs(repeated["kendall_tau"]) < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_quality_from_ten_rows_up(kind):
    codes, accuracy = measured(10)
    result = quality(SPACE, codes, accuracy, kind=kind, seed=0)
    assert (result["rows_fitted"], result["rows_held_out"]) == (8, 2)
    assert quality(SPACE, codes, np.full(10, 0.5), kind=kind, seed=0)["kendall_tau"] == 0
    with pytest.raises(ValueError, match="at least 10"):
        quality(SPACE, codes[:9], accuracy[:9], kind=kind, seed=0)
