"""Successive halving: many networks judged cheaply, the better ones again and more dearly (arXiv:1502.07943)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.strategies.archive import Archive, finite_scores, rounds
from ofa.strategies.candidates import Candidates, first_population, sample_feasible
from ofa.strategies.problem import Problem
from ofa.strategies.settings import SearchSettings, setting


@dataclass(frozen=True, kw_only=True)
class HalvingSettings(SearchSettings):
    """Those of ``halving``."""

    halving_rate: float = setting(
        3, 1.1, 1000, "Strategy halving keeps one subnet in so many, at so many times the budget."
    )
    first_budget: float = setting(
        0.1, 1e-6, 1, "First budget of strategy halving, as a share of what a whole score costs."
    )


def halving(problem: Problem, settings: HalvingSettings) -> Archive:
    """Each generation draws ``population`` random networks, and only the last few of them get a whole score.

    Needs a predictor whose ``predict`` takes ``budget=``, the share of a whole score's cost that each answer may cost:
    epochs of training, validation images, repetitions. With any other the first score is the whole one, and this
    is random search. See https://arxiv.org/abs/1502.07943. A network that falls out is never looked at again.
    """
    archive = Archive(problem)
    population = first_population(problem, archive, settings.population)
    if len(population.codes):
        archive.add(*_survivors(problem, archive, population, settings))
    for rng in rounds(problem, settings, archive):
        population = sample_feasible(problem, archive, settings.population, rng)
        if not len(population.codes):
            break
        archive.add(*_survivors(problem, archive, population, settings))
    return archive


def _survivors(problem: Problem, archive: Archive, population: Candidates, settings: HalvingSettings) -> Candidates:
    """Those that are worth a whole score."""
    budget = settings.first_budget
    while problem.partial_score is not None and budget < 1:
        codes = population.codes
        scores = finite_scores(problem.partial_score(codes, budget), codes)
        archive.pass_over(codes)
        best = np.argsort(-scores, kind="stable")
        population = population.of(best[: max(1, round(len(codes) / settings.halving_rate))])
        budget *= settings.halving_rate
    return population
