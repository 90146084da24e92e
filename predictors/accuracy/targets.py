"""What an accuracy predictor learns from: the table of them, and accuracy as a less noisy measurement tells it.

On a few hundred images the accuracies of good networks differ by less than their sampling noise. Other measurements on
the same images have less of it. Which help, and by how much: benchmarks/results/choice.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ofa.predictors.metrics import Scores  # with scipy, which a recipe's check need not wait for

# Fewer networks do not tell how accuracy follows from another measurement.
_FITTED = 10


@dataclass(frozen=True, kw_only=True)
class Target:
    """A measurement to learn from.

    Attributes:
        help: a few words, for the recipe's reference.
        signal: of what was measured, an array ``(n,)`` that rises with accuracy.
    """

    help: str
    signal: Callable[[Scores], np.ndarray]


def _minus_log_loss(scores: Scores) -> np.ndarray:
    loss = np.asarray(scores.loss, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(loss), -np.log(np.maximum(loss, 1e-12)), np.nan)


TARGETS: dict[str, Target] = {
    "smoothed_accuracy": Target(
        help="the accuracy in which nearly right and nearly wrong images count in part",
        signal=lambda scores: np.asarray(scores.smoothed_accuracy, float),
    ),
    "accuracy": Target(help="right predictions alone", signal=lambda scores: np.asarray(scores.accuracy, float)),
    "loss": Target(help="the cross-entropy, in which a network's confidence counts", signal=_minus_log_loss),
}


def rows_measured(accuracy: np.ndarray, signal: np.ndarray | None) -> np.ndarray:
    """Which rows ``(n,)`` have an accuracy, and a finite signal where any row has one.

    A network whose logits are not finite still has an accuracy, by chance: it says nothing.
    """
    measured = ~np.isnan(accuracy)
    if signal is None or not np.isfinite(signal).any():
        return measured
    return measured & np.isfinite(signal)


@dataclass(frozen=True)
class AccuracyLine:
    """Accuracy as a line of another measurement; ``noise`` is the standard deviation of accuracies around it."""

    slope: float
    offset: float
    noise: float

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        return self.offset + self.slope * np.asarray(signal, float)


def accuracy_line(accuracy: np.ndarray, signal: np.ndarray) -> AccuracyLine | None:
    """The line of least squares through what was measured of networks, each ``(n,)``; rows that are not finite count
    not.

    None where accuracy does not rise with the signal, or fewer than ten networks have both.
    """
    accuracy, signal = np.asarray(accuracy, float), np.asarray(signal, float)
    both = np.isfinite(accuracy) & np.isfinite(signal)
    accuracy, signal = accuracy[both], signal[both]
    if len(signal) < _FITTED or np.ptp(signal) == 0 or np.ptp(accuracy) == 0:
        return None
    slope = float(np.cov(signal, accuracy)[0, 1] / np.var(signal, ddof=1))
    if not slope > 0:
        return None
    offset = float(accuracy.mean() - slope * signal.mean())
    noise = float(np.std(accuracy - offset - slope * signal))
    return AccuracyLine(slope, offset, noise)
