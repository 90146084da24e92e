"""Optimizers and learning-rate schedules, timm's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn

from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings

SCHEDULERS: dict[str, Callable[..., Scheduler]] = {
    "cosine": CosineLRScheduler,
    "linear": partial(PolyLRScheduler, power=1.0),
}


def make_optimizer(model: nn.Module, settings: Settings, *, lr: float) -> torch.optim.Optimizer:
    """timm's. Raises ``ValueError`` or ``AssertionError`` for settings that the optimizer does not take."""
    options = {"opt": settings.optimizer, "lr": lr, "momentum": settings.momentum}
    if settings.layer_decay == 1:
        return create_optimizer_v2(model, weight_decay=settings.weight_decay, **options)
    groups = layer_groups(model, weight_decay=settings.weight_decay, layer_decay=settings.layer_decay)
    return create_optimizer_v2(groups, **options)


def layer_groups(model: nn.Module, *, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of a supernet or a plain timm model, by layer and by weight decay.

    A group's ``lr_scale`` is ``layer_decay`` to the power of how many layers are behind it; the classifier's is 1.
    timm's schedulers multiply by it. Which layers there are, the model's ``group_matcher`` says. Kernel transforms are
    no trained weights, they start as the identity: their scale is 1 in every layer, without weight decay.
    """
    plain = model.model if isinstance(model, Supernet) else model
    fixed = getattr(plain, "no_weight_decay", set)()
    groups = param_groups_layer_decay(
        plain, weight_decay=weight_decay, layer_decay=layer_decay, no_weight_decay_list=fixed
    )
    transforms = [parameter for name, parameter in plain.named_parameters() if ".transforms." in name]
    ours = set(map(id, transforms))
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in ours]
    groups = [group for group in groups if group["params"]]
    return groups + ([{"lr_scale": 1.0, "weight_decay": 0.0, "params": transforms}] if transforms else [])


def peak_lr(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the next step, of the layers that learn fastest."""
    first = optimizer.param_groups[0]
    return first["lr"] / first.get("lr_scale", 1.0)


def make_scheduler(
    optimizer: torch.optim.Optimizer, settings: Settings, phase: Phase, *, steps_per_epoch: int, first: bool
) -> Scheduler:
    """Of one phase; the ``first`` of a training begins with the settings' warm-up where that is longer than its own."""
    total_steps = phase.epochs * steps_per_epoch
    warmup_epochs = max(phase.warmup_epochs, settings.warmup_epochs) if first else phase.warmup_epochs
    warmup = min(round(warmup_epochs * steps_per_epoch), total_steps - 1)
    # With a prefix, its length is what follows the warm-up. Of a single step only the first rate is used, and timm
    # warns of a schedule so short.
    length = max(2, total_steps - warmup)
    return SCHEDULERS[settings.lr_schedule](
        optimizer, t_initial=length, warmup_t=warmup, warmup_prefix=warmup > 0, t_in_epochs=False
    )
