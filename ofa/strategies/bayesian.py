"""Bayesian optimisation with a Gaussian process and expected improvement."""

from __future__ import annotations

import numpy as np

from ofa.strategies.archive import Archive
from ofa.strategies.problem import Problem
from ofa.strategies.surrogate import SurrogateSettings, fit_model, model_inputs, search_by_model


def bayesian(problem: Problem, settings: SurrogateSettings) -> Archive:
    """Each generation is the batch of a ``pool`` from which a Gaussian process expects most improvement.

    The process is that of the accuracy predictor, fitted to the ranks of the scores. A batch is chosen one by one: each
    choice is taken to score as predicted, so that its neighbours say less that is new
    ("Kriging believer", https://doi.org/10.1007/978-3-642-10701-6_6).
    """

    def choose(archive: Archive, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        model = fit_model("gp", problem, archive, rng)
        mean, covariance, noise = model.posterior(model_inputs(model, problem, codes))
        best = model.predict(model_inputs(model, problem, archive.networks()[0]), return_std=False)[0].max()
        return expected_improvement_batch(mean, covariance, noise, best, settings.population)

    return search_by_model(problem, settings, choose)


def expected_improvement_batch(
    mean: np.ndarray, covariance: np.ndarray, noise: float, best: float, n: int
) -> np.ndarray:
    """The rows of at most ``n`` networks, in the order of choice.

    ``mean`` ``(m,)`` and ``covariance`` ``(m, m)`` are what is believed of their scores, ``best`` the score to improve,
    ``noise`` the variance of a score around what is believed.
    """
    from scipy.stats import norm

    covariance, free, rows = covariance.copy(), np.ones(len(mean), bool), []
    for _ in range(min(n, len(mean))):
        std = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
        gain = (mean - best) / std
        improvement = std * (gain * norm.cdf(gain) + norm.pdf(gain))
        row = int(np.where(free, improvement, -np.inf).argmax())
        rows.append(row)
        free[row], best = False, max(best, mean[row])
        # What is believed of all others once this one has the score that it is predicted to have.
        covariance -= np.outer(covariance[row], covariance[row]) / (covariance[row, row] + noise)
    return np.array(rows)
