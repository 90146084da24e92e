"""Local search, a strong baseline on tabular benchmarks (https://arxiv.org/abs/2005.02960)."""

from __future__ import annotations

from ofa.strategies.archive import Archive, best_first, rounds
from ofa.strategies.candidates import Candidates, first_generation, sample_feasible
from ofa.strategies.problem import Problem
from ofa.strategies.settings import SearchSettings
from ofa.strategies.variation import neighbours


def local_search(problem: Problem, settings: SearchSettings) -> Archive:
    """Climbs from the best of ``population`` random networks to its best neighbour, as long as one is better.

    Neighbours differ in one choice. At most ``population`` of them are evaluated at a time, and the climb goes on from
    the best network so far, so a good first step is taken before all neighbours are known. A network without unknown
    neighbours is a summit: the next climb starts from new random networks.
    """
    archive, started = first_generation(problem, settings.population), 0
    for rng in rounds(problem, settings, archive):
        codes, scores, costs = archive.networks()
        summit = codes[started:][best_first(scores[started:], costs[started:])[0]]
        around = neighbours(problem.space, summit, rng)
        new, new_costs, good = problem.filter_feasible(around[archive.unseen(around)])
        if len(new):
            found = Candidates(new, new_costs, float(good.mean())).of(slice(settings.population))
        else:
            started = len(codes)
            found = sample_feasible(problem, archive, settings.population, rng)
            if not len(found.codes):
                break
        archive.add(*found)
    return archive
