"""Which of some measured networks is the best: by what was measured, or by what is expected after it was.

Who takes the highest of several noisy measurements takes a lucky one. What a network is expected to score lies between
its measurement and what its neighbours lead to expect, the nearer to the measurement the less noise there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ofa.predictors.accuracy.predictor import AccuracyPredictor


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Networks, what was measured of them, and what they are compared by.

    Attributes:
        codes: ``(n, genes)``.
        accuracy: ``(n,)``; NaN for a network that could not be measured.
        signal: ``(n,)``, what accuracy is told from (``targets.TARGETS``); NaN for those.
    """

    codes: np.ndarray
    accuracy: np.ndarray
    signal: np.ndarray

    def __add__(self, other: Measurements) -> Measurements:
        """Both; where one of them has no signals at all, as a file of before, accuracy is told from itself."""
        codes, accuracy, signal = (
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("codes", "accuracy", "signal")
        )
        known = all(np.isfinite(part.signal).any() or not len(part.signal) for part in (self, other))
        return Measurements(codes=codes, accuracy=accuracy, signal=signal if known else accuracy)

    def quality(self) -> np.ndarray:
        """The signals, or accuracies where no signal was measured; ``-inf`` for a network that has none."""
        values = self.signal if np.isfinite(self.signal).any() else self.accuracy
        return np.where(np.isfinite(values), values, -np.inf)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A way to choose.

    Attributes:
        help: a few words, for the recipe's reference.
        value: of measured networks, ``(n,)``: the highest is the best. Given the predictor (anew), what taught it, and
            the networks to choose from.
    """

    help: str
    value: Callable[[AccuracyPredictor, Measurements, Measurements], np.ndarray]


def expected_accuracy(predictor: AccuracyPredictor, known: Measurements, measured: Measurements) -> np.ndarray:
    """What the networks are expected to score, once ``predictor`` is fitted to them too: ``(n,)``.

    Of a network that could not be measured ``-inf``.
    """
    everything = known + measured
    fitted = predictor.fit(everything.codes, everything.accuracy, signal=everything.signal)
    return np.where(np.isfinite(measured.quality()), fitted.predict(measured.codes), -np.inf)


CHOICES: dict[str, Choice] = {
    "measured": Choice(
        help="by what the predictor learns from (predictor.target), as measured of the candidates",
        value=lambda _, __, measured: measured.quality(),
    ),
    "expected": Choice(
        help="by the predictor, fitted again with the candidates, for few and noisy validation images",
        value=expected_accuracy,
    ),
}
