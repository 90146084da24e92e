"""Evolution inside hard limits, as Once-for-All searches (https://arxiv.org/abs/1908.09791, section 3.4)."""

from __future__ import annotations

import numpy as np

from ofa.strategies.archive import Archive, best_first, rounds
from ofa.strategies.candidates import bred, first
from ofa.strategies.problem import Problem, Settings


def evolve(problem: Problem, settings: Settings) -> Archive:
    """Searches for the highest score.

    Each generation keeps the best ``parents`` share of the population; the rest are new children of those,
    ``crossover`` of them by crossover and the others by mutation. Ends early when it finds no new network.
    """
    keep = min(settings.population - 1, max(1, round(settings.parents * settings.population)))
    archive = Archive(problem)
    codes, costs, share = first(problem, archive, settings)
    if not len(codes):
        return archive
    scores = archive.add(codes, costs, share)
    for rng in rounds(settings, archive):
        order = best_first(scores, costs)[:keep]
        codes, scores, costs = codes[order], scores[order], costs[order]
        born = bred(problem, archive, codes, settings.population - len(codes), rng, settings)
        if not len(born.codes):
            break
        scores = np.concatenate([scores, archive.add(*born)])
        codes, costs = np.concatenate([codes, born.codes]), np.concatenate([costs, born.costs])
    return archive
