"""A search strategy from outside the product, with a setting of its own: mutants of the best network."""

from dataclasses import dataclass

from ofa.strategies.archive import Archive, best_first, rounds
from ofa.strategies.candidates import breed, first_population
from ofa.strategies.settings import SearchSettings, setting


@dataclass(frozen=True, kw_only=True)
class ClimbSettings(SearchSettings):
    boldness: float = setting(0.2, 0, 1, "Probability that a gene of the best network is redrawn.")


def climb(problem, settings):
    archive = Archive(problem)
    population = first_population(problem, archive, settings.population)
    archive.add(*population)
    for rng in rounds(problem, settings, archive):
        codes, scores, costs = archive.networks()
        best = codes[best_first(scores, costs)[:1]]
        offspring = breed(problem, archive, best, settings.population, rng, mutation=settings.boldness, crossover=0)
        if not len(offspring.codes):
            break
        archive.add(*offspring)
    return archive
