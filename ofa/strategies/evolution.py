"""Evolution inside hard limits, as Once-for-All searches (https://arxiv.org/abs/1908.09791, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.strategies.archive import Archive, best_first, rounds
from ofa.strategies.candidates import breed, first_population
from ofa.strategies.problem import Problem
from ofa.strategies.settings import BreedingSettings, setting


@dataclass(frozen=True, kw_only=True)
class EvolutionSettings(BreedingSettings):
    """Those of ``evolve``."""

    parents: float = setting(0.25, 0, 0.9, "Fraction of the population that the next one is bred from.")


def evolve(problem: Problem, settings: EvolutionSettings) -> Archive:
    """Searches for the highest score.

    Each generation keeps the best ``parents`` of the population; the rest are new offspring of those, ``crossover`` of
    them by crossover and the others by mutation. Ends early when it finds no new network.
    """
    rates = {"mutation": settings.mutation, "crossover": settings.crossover}
    keep = min(settings.population - 1, max(1, round(settings.parents * settings.population)))
    archive = Archive(problem)
    population = first_population(problem, archive, settings.population, **rates)
    if not len(population.codes):
        return archive
    codes, costs, scores = population.codes, population.costs, archive.add(*population)
    for rng in rounds(problem, settings, archive):
        order = best_first(scores, costs)[:keep]
        codes, scores, costs = codes[order], scores[order], costs[order]
        offspring = breed(problem, archive, codes, settings.population - len(codes), rng, **rates)
        if not len(offspring.codes):
            break
        scores = np.concatenate([scores, archive.add(*offspring)])
        codes, costs = np.concatenate([codes, offspring.codes]), np.concatenate([costs, offspring.costs])
    return archive
