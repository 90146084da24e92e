"""Small neural networks among the accuracy predictors: time and memory grow only in proportion to the rows."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from ofa.predictors.accuracy.ensemble import Arrays, Ensemble


class MLPEnsemble(Ensemble):
    """Networks of one hidden layer, fitted by L-BFGS."""

    @staticmethod
    def fit_member(inputs: np.ndarray, targets: np.ndarray, seed: int) -> Arrays:
        model = MLPRegressor(hidden_layer_sizes=(64,), solver="lbfgs", alpha=1.0, max_iter=300, random_state=seed)
        with warnings.catch_warnings():
            # Stopping early is part of the regularisation: more iterations do not raise the held-out rank.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs, targets)
        (hidden, output), (hidden_bias, output_bias) = model.coefs_, model.intercepts_
        return {"hidden": hidden, "hidden_bias": hidden_bias, "output": output[:, 0], "output_bias": output_bias}

    @staticmethod
    def predict_member(member: Arrays, inputs: np.ndarray) -> np.ndarray:
        hidden = np.maximum(inputs @ member["hidden"] + member["hidden_bias"], 0)
        return hidden @ member["output"] + member["output_bias"]
