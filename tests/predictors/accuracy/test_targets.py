"""Accuracy as a less noisy measurement tells it, on networks whose accuracy is known."""

import numpy as np
import pytest
from scipy.special import log_softmax

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.quality import quality
from ofa.predictors.accuracy.targets import TARGETS, accuracy_line
from ofa.predictors.metrics import Scores, kendall_tau, smoothed_accuracy
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")
CODES = np.unique(SPACE.sample(60, np.random.default_rng(0)), axis=0)


def outputs(skill: float, images: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of a network that is the better the higher its skill, as sure of itself as chance has it."""
    labels = rng.integers(0, 5, images)
    logits = rng.standard_normal((images, 5)) + skill * np.eye(5)[labels]
    return rng.uniform(0.5, 4) * logits, labels


def measured(logits: np.ndarray, labels: np.ndarray) -> Scores:
    loss = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()
    return Scores(np.mean(logits.argmax(1) == labels), loss, smoothed_accuracy(logits, labels))


def test_of_few_images_smoothed_accuracy_tells_more_than_accuracy_and_loss():
    skills = np.linspace(1.5, 2.5, 25)
    taus = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores = Scores(*np.array([measured(*outputs(skill, 100, rng)) for skill in skills]).T)
        taus.append([kendall_tau(TARGETS[name].signal(scores), skills) for name in TARGETS])
    mean = dict(zip(TARGETS, np.mean(taus, axis=0), strict=True))
    assert mean["smoothed_accuracy"] > mean["accuracy"] + 0.01
    assert mean["accuracy"] > mean["loss"] + 0.05  # how sure a network is of itself says nothing here


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_smoothed_accuracy_does_not_hang_on_confidence(factor):
    logits, labels = outputs(1.5, 200, np.random.default_rng(0))
    value = smoothed_accuracy(logits, labels)
    assert 0 < value < 1
    assert smoothed_accuracy(factor * logits + 3, labels) == pytest.approx(value)
    assert smoothed_accuracy(logits[::-1], labels[::-1]) == pytest.approx(value)


def test_smoothed_accuracy_at_its_ends():
    labels = np.arange(6) % 3
    right = np.eye(3)[labels]
    assert smoothed_accuracy(right, labels) > 0.95 > 0.05 > smoothed_accuracy(-right, labels)
    assert smoothed_accuracy(np.zeros((6, 3)), labels) == 0  # no class is ahead
    for bad in (np.nan, np.inf, -np.inf):
        assert np.isnan(smoothed_accuracy(np.where(right == 1, bad, right), labels))


def test_a_line_is_that_of_least_squares_and_its_noise_what_is_left():
    rng = np.random.default_rng(0)
    signal = rng.uniform(0.5, 0.9, 400)
    line = accuracy_line(0.2 + 0.7 * signal + 0.01 * rng.standard_normal(400), signal)
    assert (line.slope, line.offset, line.noise) == pytest.approx((0.7, 0.2, 0.01), abs=0.01)
    assert line(np.array([0.5])) == pytest.approx([0.55], abs=0.01)


@pytest.mark.parametrize(
    ("accuracy", "signal"),
    [
        (np.linspace(0, 1, 20), np.linspace(1, 0, 20)),
        (np.linspace(0, 1, 20), np.full(20, 0.5)),
        (np.full(20, 0.5), np.linspace(0, 1, 20)),
        (np.linspace(0, 1, 9), np.linspace(0, 1, 9)),
        (np.linspace(0, 1, 20), np.full(20, np.nan)),
        (np.where(np.arange(20) < 9, 0.5, np.nan), np.linspace(0, 1, 20)),
    ],
)
def test_without_a_rising_line_there_is_none(accuracy, signal):
    assert accuracy_line(accuracy, signal) is None


def test_loss_is_finite_or_left_out():
    loss = np.array([0.0, 1.0, np.inf, np.nan])
    signal = TARGETS["loss"].signal(Scores(loss, loss, loss))
    assert np.isfinite(signal).tolist() == [True, True, False, False]
    assert signal[0] > signal[1] == 0


def made_up() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True accuracies, and the accuracies and signals that are measured of ``CODES``."""
    rng = np.random.default_rng(1)
    true = 0.6 + 0.3 * CODES.sum(axis=1) / CODES.sum(axis=1).max()
    return true, true + 0.03 * rng.standard_normal(len(CODES)), 2 * true - 0.7 + 0.004 * rng.standard_normal(len(CODES))


def test_a_predictor_learns_accuracy_from_the_signal(tmp_path):
    true, accuracy, signal = made_up()
    known, asked = slice(0, 40), slice(40, None)
    errors = {}
    for name, given in (("with", signal[known]), ("without", None)):
        predictor = AccuracyPredictor(SPACE).fit(CODES[known], accuracy[known], signal=given)
        errors[name] = np.abs(predictor.predict(CODES[asked]) - true[asked]).mean()
        predictor.save(tmp_path / name)
        assert AccuracyPredictor.load(tmp_path / name).noise_ == predictor.noise_
    assert errors["with"] < 0.7 * errors["without"]
    loaded = AccuracyPredictor.load(tmp_path / "with")
    assert loaded.noise_ == pytest.approx(0.03, rel=0.4)
    _, std = loaded.predict(CODES[asked], return_std=True)
    assert (std > 0.8 * loaded.noise_).all()  # of an accuracy that is measured, not of the signal
    assert 0.4 <= quality(SPACE, CODES, accuracy, signal=signal)["calibration"] <= 0.95


def test_rows_without_a_signal_are_left_out_and_counted():
    _, accuracy, signal = made_up()
    signal[[3, 5]], accuracy[7] = (np.nan, np.inf), np.nan
    predictor = AccuracyPredictor(SPACE).fit(CODES, accuracy, signal=signal)
    assert predictor.dropped_ == 3
    rows = np.setdiff1d(np.arange(len(CODES)), [3, 5, 7])
    alone = AccuracyPredictor(SPACE).fit(CODES[rows], accuracy[rows], signal=signal[rows])
    assert np.array_equal(predictor.predict(CODES), alone.predict(CODES))


def test_a_signal_that_says_nothing_changes_nothing():
    _, accuracy, signal = made_up()
    plain = AccuracyPredictor(SPACE).fit(CODES, accuracy)
    for useless in (np.full(len(CODES), np.nan), -signal):
        fitted = AccuracyPredictor(SPACE).fit(CODES, accuracy, signal=useless)
        assert np.array_equal(fitted.predict(CODES), plain.predict(CODES))
    with pytest.raises(ValueError, match=r"signal has the shape \(2,\); "):
        AccuracyPredictor(SPACE).fit(CODES, accuracy, signal=signal[:2])
