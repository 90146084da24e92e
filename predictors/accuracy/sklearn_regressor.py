"""Somebody else's regressor as an accuracy predictor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from ofa.predictors.accuracy.features import features
from ofa.predictors.metrics import ONE_STD, folds_of
from ofa.supernet.genome import Genome

_FOLDS = 5


class SklearnRegressor:
    """Any regressor with ``fit`` and ``predict`` over ``features``; its deviation is the same for all networks.

    The deviation is that of rows left out of five more fits, so that 68 % of new measurements fall within one.
    """

    def __init__(self, regressor: Any, deviation: float) -> None:
        self._regressor, self._deviation = regressor, deviation

    @classmethod
    def fit(
        cls, regressor: Any, space: Genome, codes: np.ndarray, targets: np.ndarray, networks: np.ndarray, seed: int
    ) -> SklearnRegressor:
        inputs = features(space, codes).astype(float)
        folds = folds_of(networks, _FOLDS, seed)
        errors = np.empty(len(codes))
        for fold in range(folds.max() + 1):
            out = folds == fold
            fitted = clone(regressor, safe=False).fit(inputs[~out], targets[~out])
            errors[out] = _predict(fitted, inputs[out]) - targets[out]
        whole = clone(regressor, safe=False).fit(inputs, targets)
        return cls(whole, float(np.quantile(np.abs(errors), ONE_STD)))

    def predict(self, inputs: np.ndarray, *, return_std: bool) -> tuple[np.ndarray, np.ndarray | float]:
        mean = _predict(self._regressor, inputs)
        return mean, np.full(len(mean), self._deviation) if return_std else np.nan


def _predict(regressor: Any, inputs: np.ndarray) -> np.ndarray:
    """One finite number a row, whatever the regressor makes of it. Raises ``ValueError`` that names the regressor."""
    predicted = np.asarray(regressor.predict(inputs), float)
    if predicted.size != len(inputs) or not np.isfinite(predicted).all():
        raise ValueError(f"model {regressor!r} predicts the shape {predicted.shape} or no numbers; one a row is needed")
    return predicted.reshape(len(inputs))
