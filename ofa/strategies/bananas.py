"""BANANAS: an ensemble of neural networks and independent Thompson sampling (https://arxiv.org/abs/1910.11858)."""

from __future__ import annotations

import numpy as np

from ofa.strategies.archive import Archive
from ofa.strategies.problem import Problem
from ofa.strategies.surrogate import SurrogateSettings, fit_model, model_inputs, search_by_model


def bananas(problem: Problem, settings: SurrogateSettings) -> Archive:
    """Each generation has those of a ``pool`` that do best in one draw each of what an ensemble believes of them.

    The ensemble is that of the accuracy predictor's kind ``mlp``, fitted to the ranks of the scores; a draw is normal
    with its mean and deviation. The paper encodes paths of a cell; here the predictor's features serve any space.
    """

    def choose(archive: Archive, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        model = fit_model("mlp", problem, archive, rng)
        mean, std = model.predict(model_inputs(model, problem, codes), return_std=True)
        return np.argsort(-rng.normal(mean, std), kind="stable")

    return search_by_model(problem, settings, choose)
