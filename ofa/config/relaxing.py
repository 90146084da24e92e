"""What a recipe's ``search:`` means for differentiable search: how many epochs, and how."""

from __future__ import annotations

from typing import NamedTuple

from ofa.config.recipe import Recipe
from ofa.config.schedule import training_phases
from ofa.config.types import as_fraction
from ofa.strategies.learned import DIFFERENTIABLE


class Relaxing(NamedTuple):
    """How architecture parameters learn, by the recipe's keys ``search.method`` and so on."""

    method: str
    epochs: int
    architecture_share: float | None
    cost_term: str | None
    cost_weight: float | None
    dominance: float | None


def relaxing(recipe: Recipe) -> Relaxing | None:
    """None where the recipe searches otherwise."""
    config = recipe.search
    if config.strategy != DIFFERENTIABLE:
        return None
    epochs = config.epochs
    if isinstance(epochs, str):
        epochs = max(1, round(as_fraction(epochs) * sum(phase.epochs for phase in training_phases(recipe))))
    return Relaxing(
        config.method, epochs, config.architecture_share, config.cost_term, config.cost_weight, config.dominance
    )
