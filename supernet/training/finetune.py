"""Fine-tuning: an extracted subnet goes on training, alone, with its own weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from ofa.supernet.threads import Threads, fixed
from ofa.supernet.training import loop
from ofa.supernet.training.checkpoint import Checkpoint, check_network
from ofa.supernet.training.errors import Diverged
from ofa.supernet.training.loop import Batches, Hooks
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.state import TrainState
from ofa.supernet.training.step import Batch, StepBatch, backward, resize, run_measured


def finetune(
    model: nn.Module,
    teacher: nn.Module | None,
    batches: Batches,
    *,
    epochs: int,
    steps_per_epoch: int,
    lr: float,
    resolution: int,
    normalize: Callable[[Tensor], Tensor],
    settings: Settings,
    teacher_resolution: int | None = None,
    resume: Checkpoint | None = None,
    save_checkpoint: Callable[[Checkpoint], None] | None = None,
    checkpoint_due: Callable[[int], bool] = lambda global_step: False,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    threads: Threads | None = None,
    progress: bool = True,
) -> None:
    """Trains a plain timm model in place, on labels and on the teacher's soft labels (https://arxiv.org/abs/1908.09791).

    The learning rate falls as a cosine from ``lr`` to zero, without warm-up. The model is left in eval mode. Draws
    (dropout) depend on ``settings.seed`` and the step alone.

    Args:
        teacher: the full network, extracted; put in eval mode, otherwise unchanged. None: labels alone.
        batches: see ``loop.train``; batches of fewer than two images train nothing.
        epochs, steps_per_epoch: at least 1.
        resolution: in pixels, that ``model`` is trained at.
        normalize: uint8 images to floats at the same size.
        settings: all count but ``lr_schedule``, ``warmup_epochs``, ``mixup``, ``cutmix``, ``compile`` and
            ``subnets_per_rank``.
        teacher_resolution: in pixels, that the teacher sees the same images at; None: ``resolution``.
        resume: go on from here, with the same teacher; the result is that of an uninterrupted run.
        save_checkpoint, checkpoint_due, stop: see ``loop.Hooks``.
        on_epoch: given the epoch's figures (see ``loop.Hooks``); the loss is None when there were no images.
        threads: asked and told in every step; the caller enters its ``used()``. By default torch's number stays.

    Raises:
        ValueError: ``resume`` is of another network.
        Diverged: naming the step and the learning rate; the model is of no use then.
        OutOfMemory: naming batch and resolution.
        Stopped: ``stop`` returned true, here or on another rank.
    """
    if resume:
        check_network(resume, model)
    if teacher is not None:
        teacher.eval()
    state = TrainState(
        net=model,
        phases=[Phase("finetune", epochs, lr)],
        steps_per_epoch=steps_per_epoch,
        settings=replace(settings, lr_schedule="cosine", warmup_epochs=0.0),
        threads=threads or fixed(),
        parameters=list(model.parameters()),
    )
    if resume:
        state.load(resume)
    hooks = Hooks(
        on_epoch=lambda state, figures: on_epoch(figures) if on_epoch else None,
        save_checkpoint=save_checkpoint,
        checkpoint_due=checkpoint_due,
        stop=stop,
    )
    sizes = {"resolution": resolution, "teacher_resolution": teacher_resolution or resolution}
    step = partial(finetuning_step, teacher=teacher, **sizes)
    loop.train(state, step, batches, normalize=normalize, hooks=hooks, progress=progress)
    model.eval()


def finetuning_step(
    state: TrainState, batch: Batch, *, teacher: nn.Module | None, resolution: int, teacher_resolution: int
) -> float:
    """The model's gradients, from labels and teacher; returns the loss (see ``loop`` on step functions)."""
    if not len(batch.labels):
        return 0.0
    taught = teacher is not None and state.settings.distill_weight > 0
    step_batch = StepBatch(
        images=resize(batch.images, resolution),
        labels=batch.labels,
        subnets=[None],
        teacher=teacher,
        in_place=False,
        where=str(state),
        teacher_images=resize(batch.images, teacher_resolution) if taught else None,
    )
    learn = partial(
        backward,
        state.net,
        step_batch,
        distill_loss=state.settings.distill_loss,
        distill_weight=state.settings.distill_weight,
        label_smoothing=state.settings.label_smoothing,
        pieces=state.settings.grad_accum_steps,
        autocast=state.autocast,
        scale=state.scaler.scale,
    )
    try:
        return run_measured(state, learn, work=lambda: len(batch.images))
    except Diverged:  # perhaps on this rank alone: the loop says so on all of them
        return math.nan
