"""What a recipe's section ``train:`` means: its phases written out, and the settings that all of them share."""

from __future__ import annotations

from dataclasses import replace

from ofa.config.recipe import Recipe
from ofa.supernet.training.phases import SCHEDULES, Phase, everything
from ofa.supernet.training.settings import Settings


def training_phases(recipe: Recipe) -> tuple[Phase, ...]:
    """The phases in order; those of a named schedule are made from its epochs and learning rate.

    Without the first phase of ``auto``, the other one has all of its epochs.
    """
    config = recipe.train
    if isinstance(config.phases, str):
        length = {"epochs": config.first_epochs, "lr": config.first_lr}
        first, *later = SCHEDULES[config.phases](recipe.space, **length)
        if config.phases == "auto" and config.skip_first_phase:
            later = [everything(recipe.space, **length)]
        if config.warmup_epochs:  # instead of the schedule's own; the settings have it
            first = replace(first, warmup_epochs=0.0)
        phases = (first, *(replace(phase, lr=phase.lr * config.shrinking_lr_scale) for phase in later))
    else:
        phases = tuple(phase.phase(first=index == 0) for index, phase in enumerate(config.phases))
    return phases[1:] if config.skip_first_phase else phases


def training_settings(recipe: Recipe) -> Settings:
    """What is the same in all phases, and in fine-tuning."""
    config = recipe.train
    own = {"layer_decay": config.lr_factor_of_layers, "seed": recipe.seed}
    same = {name: getattr(config, name) for name in Settings.__dataclass_fields__ if name not in own}
    return Settings(**same, **own)
