"""What a recipe's ``search:`` means for differentiable search: how many epochs, and how."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, NamedTuple

from ofa.config.recipe import Recipe
from ofa.config.schedule import training_phases
from ofa.config.types import as_fraction
from ofa.strategies.learned import DIFFERENTIABLE, LearnedSettings

# Of the highest learning rate of the supernet's phases: as fine-tuning begins with.
_WEIGHTS_LR = 0.4


class Relaxing(NamedTuple):
    """How architecture parameters learn; ``lr`` is where the weights' learning rate begins."""

    how: LearnedSettings
    epochs: int
    lr: float

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"epochs": self.epochs, "lr": self.lr, **asdict(self.how)}


def relaxing(recipe: Recipe) -> Relaxing | None:
    """None where the recipe searches otherwise."""
    config = recipe.search
    if config.strategy != DIFFERENTIABLE:
        return None
    phases, epochs = training_phases(recipe), config.epochs
    if isinstance(epochs, str):
        epochs = max(1, round(as_fraction(epochs) * sum(phase.epochs for phase in phases)))
    how = LearnedSettings(**{field.name: getattr(config, field.name) for field in fields(LearnedSettings)})
    return Relaxing(how, epochs, _WEIGHTS_LR * max(phase.lr for phase in phases))
