"""Random search inside hard limits: what any other strategy has to beat."""

from __future__ import annotations

from ofa.strategies.archive import Archive, rounds
from ofa.strategies.candidates import first_population, sample_feasible
from ofa.strategies.problem import Problem
from ofa.strategies.settings import SearchSettings


def random_search(problem: Problem, settings: SearchSettings) -> Archive:
    """Evaluates ``population`` new random networks a generation. Ends early when it finds no new network."""
    archive = Archive(problem)
    population = first_population(problem, archive, settings.population)
    if not len(population.codes):
        return archive
    archive.add(*population)
    for rng in rounds(problem, settings, archive):
        population = sample_feasible(problem, archive, settings.population, rng)
        if not len(population.codes):
            break
        archive.add(*population)
    return archive
