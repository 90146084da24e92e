"""Which of several measured networks is taken, where their accuracy is known and measuring is noisy."""

import numpy as np
import pytest

from ofa.predictors.accuracy.choice import CHOICES, Measurements
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")


def true_accuracy(codes: np.ndarray) -> np.ndarray:
    return 0.7 + 0.2 * codes.mean(axis=1) / codes.max()


def seen(codes: np.ndarray, *, noise: float, seed: int, signal: bool = True) -> Measurements:
    accuracy = true_accuracy(codes) + noise * np.random.default_rng(seed).standard_normal(len(codes))
    return Measurements(codes=codes, accuracy=accuracy, signal=accuracy if signal else np.full(len(codes), np.nan))


def taken(name: str, known: Measurements, measured: Measurements) -> int:
    return int(CHOICES[name].value(AccuracyPredictor(SPACE), known, measured).argmax())


def test_what_is_expected_is_better_than_the_luckiest_measurement():
    gains = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        known = seen(SPACE.sample(60, rng), noise=0.02, seed=100 + seed)
        measured = seen(SPACE.sample(10, rng), noise=0.02, seed=200 + seed)
        accuracy = true_accuracy(measured.codes)
        gains.append(accuracy[taken("expected", known, measured)] - accuracy[taken("measured", known, measured)])
    assert np.mean(gains) > 0.002


def test_where_measuring_is_exact_both_agree():
    rng = np.random.default_rng(0)
    known, measured = (seen(SPACE.sample(n, rng), noise=0, seed=0) for n in (60, 10))
    best = true_accuracy(measured.codes).argmax()
    assert taken("expected", known, measured) == taken("measured", known, measured) == best


@pytest.mark.parametrize("name", CHOICES)
def test_what_could_not_be_measured_is_not_taken(name):
    rng = np.random.default_rng(0)
    known, measured = (seen(SPACE.sample(n, rng), noise=0.01, seed=0) for n in (30, 4))
    best = taken(name, known, measured)
    measured.signal[best] = np.nan
    values = CHOICES[name].value(AccuracyPredictor(SPACE), known, measured)
    assert values[best] == -np.inf and np.isfinite(np.delete(values, best)).all()


@pytest.mark.parametrize("name", CHOICES)
def test_a_file_of_before_has_accuracies_alone(name):
    rng = np.random.default_rng(0)
    codes, others = SPACE.sample(30, rng), SPACE.sample(12, rng)
    known, measured = seen(codes, noise=0.01, seed=0, signal=False), seen(others, noise=0.01, seed=1)
    values = CHOICES[name].value(AccuracyPredictor(SPACE), known, measured)
    assert values.shape == (12,) and np.isfinite(values).all()
    assert np.array_equal((known + measured).signal, np.concatenate([known.accuracy, measured.accuracy]))
    assert np.array_equal(known.quality(), known.accuracy)
