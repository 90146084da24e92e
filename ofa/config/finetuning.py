"""What a recipe's ``finetune:`` means for each target: how many epochs, at which learning rate."""

from __future__ import annotations

from typing import NamedTuple

from ofa.config.finetune import FinetuneConfig
from ofa.config.recipe import Recipe
from ofa.config.schedule import training_phases
from ofa.config.target import Target
from ofa.config.types import as_fraction


class Finetuning(NamedTuple):
    """How one network is trained further: ``lr`` is where its learning rate begins."""

    epochs: int
    lr: float


def finetunings(recipe: Recipe) -> dict[str, Finetuning]:
    """By target; those whose network is not fine-tuned are left out."""
    found = {}
    for name, target in recipe.targets.items():
        usual, own = recipe.finetune, target.finetune
        if own is False or (own is None and usual is False):
            continue
        # A target that says how is fine-tuned even where the others are not.
        usual = usual or FinetuneConfig()
        epochs, lr = (getattr(own, key, None) or getattr(usual, key) for key in ("epochs", "lr"))
        found[name] = _resolved(recipe, epochs, lr)
    return found


def quantization_aware(recipe: Recipe, target: Target) -> Finetuning | None:
    """How the network of an int8 target is trained when nothing else keeps its accuracy; None: it is not."""
    how = target.quantization_aware
    return _resolved(recipe, how.epochs, how.lr) if how and target.bits == 8 else None


def _resolved(recipe: Recipe, epochs: int | str, lr: float | str) -> Finetuning:
    """Shares of the supernet's epochs and of its highest learning rate, as numbers."""
    phases = training_phases(recipe)
    if isinstance(epochs, str):
        epochs = max(1, round(as_fraction(epochs) * sum(phase.epochs for phase in phases)))
    return Finetuning(epochs, as_fraction(lr) * max(phase.lr for phase in phases) if isinstance(lr, str) else lr)
