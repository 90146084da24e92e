"""What a recipe's ``finetune:`` means for each target: how many epochs, at which learning rate."""

from __future__ import annotations

from typing import NamedTuple

from ofa.config.finetune import FinetuneConfig
from ofa.config.recipe import Recipe
from ofa.config.schedule import training_phases
from ofa.config.types import as_fraction


class Finetuning(NamedTuple):
    """How one network is trained further: ``lr`` is where its learning rate begins."""

    epochs: int
    lr: float


def finetunings(recipe: Recipe) -> dict[str, Finetuning]:
    """By target; those whose network is not fine-tuned are left out."""
    phases = training_phases(recipe)
    supernet_epochs, highest_lr = sum(phase.epochs for phase in phases), max(phase.lr for phase in phases)
    found = {}
    for name, target in recipe.targets.items():
        usual, own = recipe.finetune, target.finetune
        if own is False or (own is None and usual is False):
            continue
        # A target that says how is fine-tuned even where the others are not.
        usual = usual or FinetuneConfig()
        epochs, lr = (getattr(own, key, None) or getattr(usual, key) for key in ("epochs", "lr"))
        found[name] = Finetuning(
            max(1, round(as_fraction(epochs) * supernet_epochs)) if isinstance(epochs, str) else epochs,
            as_fraction(lr) * highest_lr if isinstance(lr, str) else lr,
        )
    return found
