"""Fine-tuning: an extracted subnet goes on training, alone, with its own weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from tqdm import tqdm

from ofa.supernet.threads import Threads, fixed
from ofa.supernet.training.losses import SOFT_LOSSES, distillation_loss
from ofa.supernet.training.settings import Settings, make_optimizer
from ofa.supernet.training.step import REMEDY, Diverged, resize, step_seed


def finetune(
    model: nn.Module,
    teacher: nn.Module | None,
    batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]],
    *,
    epochs: int,
    steps: int,
    lr: float,
    resolution: int,
    prepare: Callable[[Tensor], Tensor],
    settings: Settings,
    teacher_resolution: int | None = None,
    threads: Threads | None = None,
    progress: bool = True,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Trains a plain timm model in place, on labels and on the teacher's soft labels (https://arxiv.org/abs/1908.09791).

    The learning rate falls as a cosine from ``lr`` to zero, without warm-up. The model is left in eval mode. Draws
    (dropout) depend on ``settings.seed`` and the step alone.

    Args:
        teacher: the full network, extracted; put in eval mode, otherwise unchanged. None: labels alone.
        batches: epoch number to ``steps`` pairs of uint8 images and labels. Pairs of fewer than two images are skipped.
        epochs, steps: at least 1.
        resolution: in pixels, that ``model`` is trained at.
        prepare: uint8 images to normalised floats at the same size.
        settings: optimizer, momentum, weight_decay, label_smoothing, distill, soft_loss, clip_grad and seed count.
        teacher_resolution: in pixels, that the teacher sees the same images at; None: ``resolution``.
        threads: asked and told in every step; the caller enters its ``used()``. By default torch's number stays.
        on_epoch: called after every epoch with its figures (phase, epoch, loss, lr, images_per_second, seconds); loss
            is None when there were no images.

    Raises:
        Diverged: naming the step and the learning rate; the model is of no use then.
    """
    threads = threads or fixed()
    optimizer = make_optimizer(model, settings, lr=lr)
    scheduler = CosineLRScheduler(optimizer, t_initial=max(2, epochs * steps), t_in_epochs=False)  # timm warns of 1
    device = next(model.parameters()).device
    forked = [device] if device.type == "cuda" else []
    sizes = resolution, teacher_resolution or resolution
    model.train()
    if teacher is not None:
        teacher.eval()
    with tqdm(total=epochs * steps, desc="finetune", unit="step", disable=None if progress else True) as bar:
        for epoch in range(epochs):
            started, losses, seen = time.perf_counter(), [], 0
            for index, (images, labels) in enumerate(batches(epoch)):
                step = epoch * steps + index
                scheduler.step_update(step)
                bar.update()
                if len(images) < 2:  # batch norm takes no variance of a single image
                    continue
                where = f"phase finetune, step {step}, learning rate {optimizer.param_groups[0]['lr']:.3g}"
                with torch.random.fork_rng(devices=forked):
                    torch.manual_seed(step_seed(settings.seed, step))
                    given = prepare(images.to(device)), labels, sizes, settings, where
                    loss = _step(model, teacher, optimizer, *given, threads)
                losses.append(loss)
                seen += len(images)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if not all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()):
                raise Diverged(f"the weights are no longer finite after epoch {epoch + 1} of phase finetune; {REMEDY}")
            if on_epoch:
                seconds = time.perf_counter() - started
                figures = {
                    "phase": "finetune",
                    "epoch": epoch + 1,
                    "loss": sum(losses) / len(losses) if losses else None,
                    "lr": optimizer.param_groups[0]["lr"],
                    "images_per_second": seen / seconds,
                    "seconds": seconds,
                }
                on_epoch(figures)
    model.eval()


def _step(
    model: nn.Module,
    teacher: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    sizes: tuple[int, int],
    settings: Settings,
    where: str,
    threads: Threads,
) -> float:
    """One optimizer step at the first of ``sizes``, with the teacher at the second; returns the loss."""
    optimizer.zero_grad()
    learn = partial(_backward, model, teacher, images, labels, sizes, settings, where)
    if threads.due():
        threads.measure_training(model, learn)
    started = time.perf_counter()
    loss = learn()
    if settings.clip_grad is not None:
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_grad)
    optimizer.step()
    threads.took(time.perf_counter() - started, len(images))
    return loss


def _backward(
    model: nn.Module,
    teacher: nn.Module | None,
    images: Tensor,
    labels: Tensor,
    sizes: tuple[int, int],
    settings: Settings,
    where: str,
) -> float:
    """Adds one batch's gradient; returns the loss."""
    soft = None
    if teacher is not None and settings.distill > 0:
        with torch.no_grad():
            soft = teacher(resize(images, sizes[1]))
    loss = distillation_loss(
        model(resize(images, sizes[0])),
        labels.to(images.device),
        soft,
        label_smoothing=settings.label_smoothing,
        weight=settings.distill,
        soft=SOFT_LOSSES[settings.soft_loss],
    )
    value = loss.item()
    if not math.isfinite(value):
        raise Diverged(f"the loss is {value} in {where}; {REMEDY}")
    loss.backward()
    return value
