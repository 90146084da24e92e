"""The search strategies: the one table of them. ``docs/extending.md`` says what a new one needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ofa.strategies.annealing import AnnealingSettings, annealing
from ofa.strategies.archive import Archive
from ofa.strategies.bananas import bananas
from ofa.strategies.bayesian import bayesian
from ofa.strategies.compound import compound
from ofa.strategies.evolution import EvolutionSettings, evolve
from ofa.strategies.halving import HalvingSettings, halving
from ofa.strategies.local_search import local_search
from ofa.strategies.nsga2 import nsga2
from ofa.strategies.one_shot import one_shot
from ofa.strategies.problem import Problem
from ofa.strategies.progressive import ProgressiveSettings, progressive
from ofa.strategies.random_search import random_search
from ofa.strategies.regularized_evolution import RegularizedEvolutionSettings, regularized_evolution
from ofa.strategies.reinforce import ReinforceSettings, reinforce
from ofa.strategies.settings import BreedingSettings, SearchSettings
from ofa.strategies.surrogate import SurrogateSettings


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A way to search.

    Attributes:
        run: ``run(problem, settings)`` gives the archive of all that it evaluated.
        settings: the class of its settings.
        help: a few words, for the recipe's reference.
        multi_objective: whether it looks for a front of accuracy and costs, by default those of all limits, rather than
            for the most accurate network.
    """

    run: Callable[[Problem, Any], Archive]
    settings: type[SearchSettings]
    help: str
    multi_objective: bool = False


STRATEGIES: dict[str, Strategy] = {
    "evolution": Strategy(
        run=evolve,
        settings=EvolutionSettings,
        help="one best subnet, as published for Once-for-All",
    ),
    "random": Strategy(run=random_search, settings=SearchSettings, help="to compare with"),
    "nsga2": Strategy(
        run=nsga2, settings=BreedingSettings, help="a whole front of accuracy and costs", multi_objective=True
    ),
    "regularized_evolution": Strategy(
        run=regularized_evolution, settings=RegularizedEvolutionSettings, help="evolution in which the oldest die"
    ),
    "reinforce": Strategy(run=reinforce, settings=ReinforceSettings, help="a controller that learns by its rewards"),
    "progressive": Strategy(
        run=progressive, settings=ProgressiveSettings, help="choices opened step by step, a model picks"
    ),
    "bayesian": Strategy(run=bayesian, settings=SurrogateSettings, help="Gaussian process with expected improvement"),
    "bananas": Strategy(
        run=bananas, settings=SurrogateSettings, help="ensemble of neural networks with Thompson sampling"
    ),
    "local_search": Strategy(run=local_search, settings=SearchSettings, help="climbs to the best neighbour"),
    "annealing": Strategy(run=annealing, settings=AnnealingSettings, help="walks that cool down"),
    "one_shot": Strategy(
        run=one_shot, settings=EvolutionSettings, help="evolution as published for Single Path One-Shot"
    ),
    "compound": Strategy(
        run=compound, settings=SearchSettings, help="depth, width and resolution by one coefficient, the baseline"
    ),
    "halving": Strategy(
        run=halving, settings=HalvingSettings, help="cheap scores first, where the predictor takes a budget"
    ),
}


def all_settings() -> dict[str, dataclasses.Field[Any]]:
    """Every setting that some strategy has, by name."""
    return {field.name: field for each in STRATEGIES.values() for field in dataclasses.fields(each.settings)}
