"""NSGA-II inside hard limits (Deb and others, 2002, https://doi.org/10.1109/4235.996017)."""

from __future__ import annotations

import numpy as np

from ofa.strategies.archive import Archive, rounds
from ofa.strategies.candidates import breed, first_population
from ofa.strategies.pareto import crowding_distance, front, nondominated_sort
from ofa.strategies.problem import Problem
from ofa.strategies.settings import BreedingSettings


def nsga2(problem: Problem, settings: BreedingSettings) -> Archive:
    """Searches for the front of highest score and lowest cost in each of the problem's ``objectives``.

    Each generation makes ``population`` new offspring of parents chosen by tournament; of old and new the best
    ``population`` stay: by number of front, then by how far they are from their neighbours. A generation improves
    something when one of its networks joins the front of all that were evaluated. Ends early when it finds no new
    network.
    """
    columns, rates = list(problem.objectives), {"mutation": settings.mutation, "crossover": settings.crossover}
    archive = Archive(problem)
    population = first_population(problem, archive, settings.population, **rates)
    if not len(population.codes):
        return archive
    # Lower is better in every column.
    codes, values = population.codes, np.column_stack([-archive.add(*population), population.costs[:, columns]])
    rank = nondominated_sort(values)
    apart, best = crowding_distance(values, rank), values[front(values)]
    for rng in rounds(problem, settings, archive):
        pool = codes[_winners(rank, apart, rng.integers(len(codes), size=(2, 2 * settings.population)))]
        offspring = breed(problem, archive, pool, settings.population, rng, **rates)
        if not len(offspring.codes):
            break
        new = np.column_stack([-archive.add(*offspring), offspring.costs[:, columns]])
        if settings.patience is not None:
            both = np.concatenate([best, new])
            rows = front(both)
            best = both[rows]
            if rows.max() >= len(both) - len(new):
                archive.stale = 0
        codes, values = np.concatenate([codes, offspring.codes]), np.concatenate([values, new])
        rank = nondominated_sort(values)
        apart = crowding_distance(values, rank)
        stay = np.lexsort((-apart, rank))[: settings.population]
        codes, values, rank, apart = codes[stay], values[stay], rank[stay], apart[stay]
    return archive


def _winners(rank: np.ndarray, apart: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Of each pair of rows ``(2, n)`` the one of the lower front, or of equal fronts the less crowded."""
    one, two = pairs
    better = (rank[one] < rank[two]) | ((rank[one] == rank[two]) & (apart[one] >= apart[two]))
    return np.where(better, one, two)
