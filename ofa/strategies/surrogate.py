"""What strategies with a model of the score share: its rows, its fit, and the networks that it chooses among."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ofa.predictors.blas import one_blas_thread
from ofa.strategies.archive import Archive, best_first, rounds
from ofa.strategies.candidates import Candidates, first_generation, gather
from ofa.strategies.problem import Problem
from ofa.strategies.settings import BreedingSettings, setting
from ofa.strategies.variation import sample, vary

MAX_ROWS = 400  # the time of a fit grows with their cube, and the best rows say most about where better ones are
_PARENTS = 10  # best networks whose offspring is in the pool


@dataclass(frozen=True, kw_only=True)
class SurrogateSettings(BreedingSettings):
    """Those of strategies whose model chooses what is evaluated."""

    pool: int = setting(500, 2, 100_000, "Subnets among which bayesian and bananas choose those of a generation.")


# Given the archive, codes ``(n, genes)`` and a generator: the rows of the codes to evaluate, the best first.
Choose = Callable[[Archive, np.ndarray, np.random.Generator], np.ndarray]


@one_blas_thread
def search_by_model(problem: Problem, settings: SurrogateSettings, choose: Choose) -> Archive:
    """Each generation is what ``choose`` takes of a ``pool``; all of it where there is nothing to choose or learn."""
    archive = first_generation(problem, settings.population)
    for rng in rounds(problem, settings, archive):
        candidates = pool(problem, archive, settings, rng)
        if not len(candidates.codes):
            break
        rows = np.arange(len(candidates.codes))
        if len(rows) > 1 and len(archive.networks()[0]) > 1:
            rows = choose(archive, candidates.codes, rng)
        archive.add(*candidates.of(rows[: settings.population]))
    return archive


def pool(problem: Problem, archive: Archive, settings: SurrogateSettings, rng: np.random.Generator) -> Candidates:
    """At most ``settings.pool`` new feasible networks: half offspring of the best ones so far, half random ones."""
    codes, scores, costs = archive.networks()
    parents = codes[best_first(scores, costs)[:_PARENTS]]
    rates = {"mutation": settings.mutation, "crossover": settings.crossover}

    def make(count: int) -> np.ndarray:
        drawn = [vary(problem.space, parents, count - count // 2, rng, **rates), sample(problem.space, count // 2, rng)]
        return rng.permutation(np.concatenate(drawn))

    return gather(problem, archive, settings.pool, rng, make)


def evaluated_rows(archive: Archive, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Codes ``(n, genes)`` and what a model learns of them ``(n,)``: at most 400 rows, half of them the best.

    Learnt are normal scores of the ranks: a few networks that fail altogether would else hide all other differences.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    codes, scores, costs = archive.networks()
    order = best_first(scores, costs)
    best, others = order[: MAX_ROWS // 2], order[MAX_ROWS // 2 :]
    rows = np.concatenate([best, rng.permutation(others)[: MAX_ROWS - len(best)]])
    return codes[rows], ndtri((rankdata(scores[rows]) - 0.5) / len(rows))


def fit_model(kind: str, problem: Problem, archive: Archive, rng: np.random.Generator) -> Any:
    """A model of a kind of ``ofa.AccuracyPredictor``, fitted to ``evaluated_rows``."""
    from ofa.predictors.accuracy.kinds import KINDS

    codes, targets = evaluated_rows(archive, rng)
    seed = int(rng.integers(2**31))
    return KINDS[kind].load().fit(problem.space, codes, targets, np.arange(len(codes)), seed, quick=True)


def model_inputs(model: Any, problem: Problem, codes: np.ndarray) -> np.ndarray:
    """What the model is asked with for these codes."""
    from ofa.predictors.accuracy.features import inputs_of

    return inputs_of(model, problem.space, codes)
