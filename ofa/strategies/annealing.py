"""Simulated annealing (Kirkpatrick and others, 1983, https://doi.org/10.1126/science.220.4598.671)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.strategies.archive import Archive, best_first, rounds
from ofa.strategies.candidates import first_generation, gather
from ofa.strategies.problem import Problem
from ofa.strategies.settings import SearchSettings, setting
from ofa.strategies.variation import change_one

_COLDEST = 0.01  # of the first temperature, in the last generation


@dataclass(frozen=True, kw_only=True)
class AnnealingSettings(SearchSettings):
    """Those of ``annealing``."""

    chains: int = setting(
        2, 1, 10_000, "Subnets from which strategy annealing walks at once; they share each generation."
    )
    annealing_temperature: float = setting(
        0.05,
        0,
        1000,
        "First temperature of strategy annealing, in interquartile ranges of the first generation's scores.",
    )


def annealing(problem: Problem, settings: AnnealingSettings) -> Archive:
    """Walks by changes of one choice, to better networks always, to worse ones by chance and less often with time.

    The chance of a step that loses ``d`` is ``exp(-d / temperature)``. The temperature falls by a constant factor from
    generation to generation, to a hundredth. Steps go to networks that were not evaluated before.
    """
    archive = first_generation(problem, settings.population)
    codes, scores, costs = archive.networks()
    best = best_first(scores, costs)[: settings.chains]
    current, values = codes[best], scores[best]
    spread = np.subtract(*np.quantile(scores, (0.75, 0.25))) if len(scores) else 0.0

    for generation, rng in enumerate(rounds(problem, settings, archive)):

        def make(count: int, rng=rng, current=current) -> np.ndarray:
            return change_one(problem.space, current[np.arange(count) % len(current)], rng)

        steps = gather(problem, archive, settings.population, rng, make)
        if not len(steps.codes):
            break
        new_values = archive.add(*steps)
        temperature = settings.annealing_temperature * spread * _COLDEST ** (generation / settings.generations)
        current, values = _walked(current, values, steps.codes, new_values, temperature, rng)
    return archive


def _walked(
    current: np.ndarray,
    values: np.ndarray,
    codes: np.ndarray,
    new_values: np.ndarray,
    temperature: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the chains are after the steps ``codes``, each of which is one of the chain that it is nearest to."""
    chain_of = (codes[:, None] != current).sum(axis=2).argmin(axis=1)
    current, values = current.copy(), values.copy()
    for code, value, chain, chance in zip(codes, new_values, chain_of, rng.random(len(codes)), strict=True):
        loss = values[chain] - value
        if loss <= 0 or (temperature > 0 and chance < np.exp(-loss / temperature)):
            current[chain], values[chain] = code, value
    return current, values
