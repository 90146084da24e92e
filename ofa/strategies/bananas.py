"""BANANAS: an ensemble of neural networks and independent Thompson sampling (https://arxiv.org/abs/1910.11858)."""

from __future__ import annotations

import numpy as np

from ofa.predictors.blas import one_blas_thread
from ofa.strategies.archive import Archive, rounds
from ofa.strategies.candidates import first_generation
from ofa.strategies.problem import Problem
from ofa.strategies.surrogate import SurrogateSettings, fit_model, model_inputs, pool


@one_blas_thread
def bananas(problem: Problem, settings: SurrogateSettings) -> Archive:
    """Each generation has those of a ``pool`` that do best in one draw each of what an ensemble believes of them.

    The ensemble is that of the accuracy predictor's kind ``mlp``, fitted to the ranks of the scores; a draw is normal
    with its mean and deviation. The paper encodes paths of a cell; here the predictor's features serve any space.
    """
    archive = first_generation(problem, settings.population)
    for rng in rounds(problem, settings, archive):
        candidates = pool(problem, archive, settings, rng)
        if not len(candidates.codes):
            break
        rows = np.arange(len(candidates.codes))
        if len(rows) > 1 and len(archive.networks()[0]) > 1:
            model = fit_model("mlp", problem, archive, rng)
            mean, std = model.predict(model_inputs(model, problem, candidates.codes), return_std=True)
            rows = np.argsort(-rng.normal(mean, std), kind="stable")
        archive.add(*candidates.of(rows[: settings.population]))
    return archive
