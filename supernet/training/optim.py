"""Optimizers and learning-rate schedules, timm's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn

from ofa.supernet.training.settings import Settings

SCHEDULERS: dict[str, Callable[..., Scheduler]] = {
    "cosine": CosineLRScheduler,
    "linear": partial(PolyLRScheduler, power=1.0),
}


def make_optimizer(model: nn.Module, settings: Settings, *, lr: float) -> torch.optim.Optimizer:
    """timm's. Raises ``ValueError`` or ``AssertionError`` for settings that the optimizer does not take."""
    return create_optimizer_v2(
        model, opt=settings.optimizer, lr=lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def make_scheduler(
    optimizer: torch.optim.Optimizer, settings: Settings, *, steps_per_epoch: int, total_steps: int, warm: bool
) -> Scheduler:
    """Of one phase of ``total_steps`` optimizer steps; ``warm``: whether it begins with the settings' warm-up."""
    warmup = min(round(settings.warmup_epochs * steps_per_epoch), total_steps - 1) if warm else 0
    # With a prefix, its length is what follows the warm-up. Of a single step only the first rate is used, and timm
    # warns of a schedule so short.
    length = max(2, total_steps - warmup)
    return SCHEDULERS[settings.lr_schedule](
        optimizer, t_initial=length, warmup_t=warmup, warmup_prefix=warmup > 0, t_in_epochs=False
    )
