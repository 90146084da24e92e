"""Small neural networks among the accuracy predictors: time and memory grow only in proportion to the rows."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from ofa.predictors.accuracy.ensemble import Arrays, Ensemble

_HIDDEN = 64


class MLPEnsemble(Ensemble):
    """Networks of one hidden layer, fitted to accuracies by L-BFGS, or to their order by gradient descent."""

    @staticmethod
    def fit_member(inputs: np.ndarray, targets: np.ndarray, seed: int, loss: str = "squares") -> Arrays:
        if loss != "squares":
            return _fitted_by_gradient(inputs, targets, seed, loss)
        model = MLPRegressor(hidden_layer_sizes=(_HIDDEN,), solver="lbfgs", alpha=1.0, max_iter=300, random_state=seed)
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


def _fitted_by_gradient(inputs: np.ndarray, targets: np.ndarray, seed: int, loss: str = "squares") -> Arrays:
    import torch

    from ofa.predictors.accuracy.gradient import fit_by_gradient

    def forward(weights: dict[str, torch.Tensor], data: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(data @ weights["hidden"] + weights["hidden_bias"])
        return hidden @ weights["last"] + weights["last_bias"]

    generator = torch.Generator().manual_seed(seed)
    columns = inputs.shape[1]
    weights = {
        "hidden": torch.randn(columns, _HIDDEN, generator=generator) / columns**0.5,
        "hidden_bias": torch.zeros(_HIDDEN),
        "last": torch.randn(_HIDDEN, generator=generator) / _HIDDEN**0.5,
        "last_bias": torch.zeros(()),
    }
    fitted = fit_by_gradient(forward, weights, inputs, targets, loss=loss)
    return {name.replace("last", "output"): array.astype(float) for name, array in fitted.items()}
