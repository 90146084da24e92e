"""What of a training run is the same in every phase, and what timm and torch make of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn

from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import Phase


@dataclass(frozen=True)
class Settings:
    """Everything of a training run that is the same in every phase.

    ``optimizer`` is any of timm's names but kron, whose state no checkpoint holds; ``lr_schedule`` a key of
    ``SCHEDULERS``. ``distill`` weighs a frozen teacher's soft labels, learnt by ``soft_loss`` (a key of
    ``losses.SOFT_LOSSES``). ``warmup_epochs`` rise linearly in the first phase. ``clip_grad`` is the largest gradient
    norm. ``ema`` is the decay of the weights' moving average, which every phase ends with. ``mixup`` and ``cutmix`` are
    the alphas of their distributions. ``accumulate`` works on a batch in so many pieces. ``amp``: mixed precision on
    CUDA, bfloat16 where the device has it. ``compile``: torch.compile each block, in
    phases that train one network. ``ranks``: whether processes sample
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


_MOST_SHAPES = 256

SCHEDULERS: dict[str, Callable[..., Scheduler]] = {
    "cosine": CosineLRScheduler,
    "linear": partial(PolyLRScheduler, power=1.0),
}


def make_optimizer(model: nn.Module, settings: Settings, *, lr: float) -> torch.optim.Optimizer:
    """timm's. Raises ``ValueError`` or ``AssertionError`` for settings that the optimizer does not take."""
    return create_optimizer_v2(
        model, opt=settings.optimizer, lr=lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def make_mixup(net: Supernet, settings: Settings) -> Mixup | None:
    """What mixes images and labels, with the labels' smoothing; None when neither mixup nor cutmix is asked for."""
    if not (settings.mixup or settings.cutmix):
        return None
    smoothing = {"label_smoothing": settings.label_smoothing, "num_classes": net.num_classes}
    return Mixup(mixup_alpha=settings.mixup, cutmix_alpha=settings.cutmix, **smoothing)


def scheduler_of(
    optimizer: torch.optim.Optimizer, settings: Settings, *, steps: int, total: int, warm: bool
) -> Scheduler:
    """Of one phase of ``total`` optimizer steps; ``steps`` an epoch, ``warm``: whether it warms up."""
    warmup = min(round(settings.warmup_epochs * steps), total - 1) if warm else 0
    # With a prefix, its length is what follows the warm-up. Of a single step only the first rate is used, and timm
    # warns of a schedule so short.
    length = max(2, total - warmup)
    return SCHEDULERS[settings.lr_schedule](
        optimizer, t_initial=length, warmup_t=warmup, warmup_prefix=warmup > 0, t_in_epochs=False
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


def compile_blocks(net: Supernet) -> None:
    """Has torch.compile work on each block, in place, where ``compiling`` says so."""
    for stage in net.model.blocks:
        for block in stage:
            block.compile()


def compiling(settings: Settings, phase: Phase) -> AbstractContextManager:
    """Runs blocks compiled in phases that train one network, and as they are in the others.

    An elastic phase has thousands of shapes; each would be compiled anew, for seconds, until torch gives up.
    """
    if not settings.compile:
        return nullcontext()
    one_network = phase.kernel == phase.depth == phase.expand == 1
    stack = ExitStack()
    stack.enter_context(torch.compiler.set_stance("default" if one_network else "force_eager"))
    if one_network:  # all blocks share one forward function, and count together
        stack.enter_context(torch._dynamo.config.patch(recompile_limit=_MOST_SHAPES))
    return stack
