"""The search strategies: the one table of them. ``docs/extending.md`` says what a new one needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ofa.strategies.archive import Archive
from ofa.strategies.evolution import EvolutionSettings, evolve
from ofa.strategies.nsga2 import nsga2
from ofa.strategies.problem import Problem
from ofa.strategies.random_search import random_search
from ofa.strategies.settings import BreedingSettings, SearchSettings


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
}


def all_settings() -> dict[str, dataclasses.Field[Any]]:
    """Every setting that some strategy has, by name."""
    return {field.name: field for each in STRATEGIES.values() for field in dataclasses.fields(each.settings)}
