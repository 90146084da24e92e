"""The evolution of Single Path One-Shot (https://arxiv.org/abs/1904.00420, section 3.4)."""

from __future__ import annotations

from ofa.strategies.archive import Archive, best_first, rounds
from ofa.strategies.candidates import breed, first_generation
from ofa.strategies.evolution import EvolutionSettings
from ofa.strategies.problem import Problem


def one_shot(problem: Problem, settings: EvolutionSettings) -> Archive:
    """Each generation is new: offspring of the best networks that any generation had.

    The paper takes populations of 50, the best 10 as parents, and half of the offspring from crossover. Its score is
    the accuracy of each candidate with the supernet's weights, after its batch norm statistics are computed anew: give
    ``ofa.search`` an object whose ``predict`` measures in that way.
    """
    archive = first_generation(problem, settings.population)
    for rng in rounds(problem, settings, archive):
        codes, scores, costs = archive.networks()
        parents = codes[best_first(scores, costs)[: max(1, round(settings.parents * settings.population))]]
        rates = {"mutation": settings.mutation, "crossover": settings.crossover}
        offspring = breed(problem, archive, parents, settings.population, rng, **rates)
        if not len(offspring.codes):
            break
        archive.add(*offspring)
    return archive
