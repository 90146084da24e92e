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

    Each generation makes ``population`` offspring of parents chosen by tournament. Of old and new the best
    ``population`` survive: by number of front, then by crowding distance. Ends early when it finds no new network.
    """
    columns, rates = list(problem.objectives), {"mutation": settings.mutation, "crossover": settings.crossover}
    archive = Archive(problem)
    population = first_population(problem, archive, settings.population, **rates)
    if not len(population.codes):
        return archive

    # Lower is better in every column.
    codes, values = population.codes, np.column_stack([-archive.add(*population), population.costs[:, columns]])
    rank = nondominated_sort(values)
    distance, best = crowding_distance(values, rank), values[front(values)]
    for rng in rounds(problem, settings, archive):
        # Tournament: of each pair of rows the one of the lower front wins, or of equal fronts the less crowded.
        first, second = rng.integers(len(codes), size=(2, 2 * settings.population))
        less_crowded = (rank[first] == rank[second]) & (distance[first] >= distance[second])
        parents = codes[np.where((rank[first] < rank[second]) | less_crowded, first, second)]
        offspring = breed(problem, archive, parents, settings.population, rng, **rates)
        if not len(offspring.codes):
            break
        new = np.column_stack([-archive.add(*offspring), offspring.costs[:, columns]])

        # A generation that adds to the front of all evaluated networks is progress.
        if settings.patience is not None:
            both = np.concatenate([best, new])
            rows = front(both)
            best = both[rows]
            if rows.max() >= len(both) - len(new):
                archive.stale = 0

        # The best of old and new survive.
        codes, values = np.concatenate([codes, offspring.codes]), np.concatenate([values, new])
        rank = nondominated_sort(values)
        distance = crowding_distance(values, rank)
        survivors = np.lexsort((-distance, rank))[: settings.population]
        codes, values, rank, distance = codes[survivors], values[survivors], rank[survivors], distance[survivors]
    return archive
