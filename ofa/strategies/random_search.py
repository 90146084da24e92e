"""Random search inside hard limits: what any other strategy has to beat."""

from __future__ import annotations

from ofa.strategies.archive import Archive, rounds
from ofa.strategies.candidates import drawn, first
from ofa.strategies.problem import Problem, Settings


def draw_all(problem: Problem, settings: Settings) -> Archive:
    """Evaluates ``population`` new random networks a generation. Ends early when it finds no new network."""
    archive = Archive(problem)
    found = first(problem, archive, settings)
    if not len(found.codes):
        return archive
    archive.add(*found)
    for rng in rounds(settings, archive):
        found = drawn(problem, archive, settings.population, rng)
        if not len(found.codes):
            break
        archive.add(*found)
    return archive
