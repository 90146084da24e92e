"""Regularized evolution: the oldest network dies, not the worst (https://arxiv.org/abs/1802.01548)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.strategies.archive import Archive, rounds
from ofa.strategies.candidates import first_generation, gather
from ofa.strategies.problem import Problem
from ofa.strategies.settings import SearchSettings, setting
from ofa.strategies.variation import change_one


@dataclass(frozen=True, kw_only=True)
class RegularizedEvolutionSettings(SearchSettings):
    """Those of ``regularized_evolution``."""

    alive: int = setting(50, 1, 100_000, "Youngest subnets that may be parents in strategy regularized_evolution.")
    tournament: float = setting(0.5, 0, 1, "Fraction of those that compete to be the parent of a new subnet.")


def regularized_evolution(problem: Problem, settings: RegularizedEvolutionSettings) -> Archive:
    """Each new network is the best of a random ``tournament`` among the youngest, with one choice changed.

    A lucky score dies with its network, so what spreads is what scores well again in its offspring. The paper evaluates
    one network at a time; here a generation is evaluated at once, and a smaller ``population`` is nearer to it.
    """
    archive = first_generation(problem, settings.population)
    for rng in rounds(problem, settings, archive):
        codes, scores, _ = archive.networks()
        codes, scores = codes[-settings.alive :], scores[-settings.alive :]
        competing = max(1, round(settings.tournament * len(codes)))

        def make(count: int, rng=rng, codes=codes, scores=scores, competing=competing) -> np.ndarray:
            drawn = rng.integers(len(codes), size=(count, competing))
            return change_one(problem.space, codes[drawn[np.arange(count), scores[drawn].argmax(axis=1)]], rng)

        children = gather(problem, archive, settings.population, rng, make)
        if not len(children.codes):
            break
        archive.add(*children)
    return archive
