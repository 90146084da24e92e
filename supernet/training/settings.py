"""What of a training run is the same in every phase, and what timm and torch make of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler


@dataclass(frozen=True)
class Settings:
    """Everything of a training run that is the same in every phase.

    ``optimizer`` is any of timm's names but kron, whose state no checkpoint holds; ``lr_schedule`` a key of
    ``SCHEDULERS``. ``distill`` weighs a frozen teacher's soft labels, learnt by ``soft_loss`` (a key of
    ``losses.SOFT_LOSSES``). ``warmup_epochs`` rise linearly in the first phase. ``clip_grad`` is the largest gradient
    norm. ``ema`` is the decay of the weights' moving average, which every phase ends with. ``mixup`` and ``cutmix`` are
    the alphas of their distributions. ``accumulate`` works on a batch in so many pieces. ``amp``: mixed precision on
    CUDA, bfloat16 where the device has it. ``compile``: torch.compile each block. ``ranks``: whether processes sample
    the ``same`` or ``different`` subnets.
    """

    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 3e-5
    lr_schedule: str = "cosine"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.1
    distill: float = 1.0
    soft_loss: str = "soft_ce"
    clip_grad: float | None = None
    ema: float | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    accumulate: int = 1
    amp: bool = True
    compile: bool = False
    ranks: str = "same"
    seed: int = 0


SCHEDULERS: dict[str, Callable[..., Scheduler]] = {
    "cosine": CosineLRScheduler,
    "linear": partial(PolyLRScheduler, power=1.0),
}


def scheduler_of(
    optimizer: torch.optim.Optimizer, settings: Settings, *, steps: int, total: int, warm: bool
) -> Scheduler:
    """Of one phase of ``total`` optimizer steps; ``steps`` an epoch, ``warm``: whether it warms up."""
    warmup = min(round(settings.warmup_epochs * steps), total - 1) if warm else 0
    return SCHEDULERS[settings.lr_schedule](  # with a prefix, its length is what follows the warm-up
        optimizer, t_initial=total - warmup, warmup_t=warmup, warmup_prefix=warmup > 0, t_in_epochs=False
    )


def precision_of(
    settings: Settings, device: torch.device
) -> tuple[Callable[[], AbstractContextManager], torch.amp.GradScaler]:
    """Autocast, and the scaler that float16 needs (which does nothing otherwise)."""
    if not settings.amp or device.type != "cuda":
        return nullcontext, torch.amp.GradScaler(device.type, enabled=False)
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)
    return partial(torch.autocast, "cuda", dtype=dtype), scaler
