"""A few epochs of a network that learns from a frozen teacher, in one process: quantization-aware training, say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ofa.supernet.training.errors import REMEDY, Diverged
from ofa.supernet.training.optim import make_optimizer, make_scheduler
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.step import GOLDEN_RATIO_64, StepBatch, backward, resize

WARMUP = 0.1  # share of the epochs: the first steps of Adam are as long as any, and know little


def train_student(
    student: nn.Module,
    teacher: nn.Module,
    batches: Callable[[int, int], Iterable[tuple[Tensor, Tensor]]],
    *,
    epochs: int,
    steps_per_epoch: int,
    lr: float,
    resolution: int,
    normalize: Callable[[Tensor], Tensor],
    settings: Settings,
    check_interrupt: Callable[[], None] = lambda: None,
    progress: bool = True,
) -> None:
    """Trains ``student`` in place, on labels and on the soft labels of ``teacher``, in float32.

    Other processes take no part, and there are no checkpoints. The learning rate rises for a tenth of the epochs, then
    falls as a cosine from ``lr`` to zero. The same arguments give the same weights, on one machine and number of
    threads. Both networks are left in eval mode.

    Args:
        batches: (epoch, first step) to uint8 images and labels; a batch of one image is left out.
        resolution: in pixels, for both networks.
        normalize: uint8 images to floats at the same size.
        settings: optimizer, momentum, weight decay, label smoothing, distillation, ``clip_grad``,
            ``grad_accum_steps`` and ``seed`` count.
        check_interrupt: called in every step; may raise.

    Raises:
        Diverged: naming the step and the learning rate; the student is of no use then.
        OutOfMemory: naming batch and resolution.
        ValueError: ``batches`` gave nothing.
    """
    teacher.eval()
    student.train()
    device = next(student.parameters()).device
    settings = replace(settings, lr_schedule="cosine", layer_decay=1.0)
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(student, settings, lr=lr)
    phase = Phase("student", epochs, lr, warmup_epochs=WARMUP * epochs)
    scheduler = make_scheduler(optimizer, settings, phase, steps_per_epoch=steps_per_epoch, first=False)

    total, disable = epochs * steps_per_epoch, None if progress else True
    bar = tqdm(total=total, desc="quantization-aware", unit="step", disable=disable)
    forked = [device] if device.type == "cuda" else []
    for epoch in range(epochs):
        seen = 0
        for index, (images, labels) in enumerate(islice(batches(epoch, 0), steps_per_epoch)):
            check_interrupt()
            step = epoch * steps_per_epoch + index
            scheduler.step_update(step)
            if len(labels) < 2:
                continue
            seen += 1
            images, labels = resize(normalize(images.to(device)), resolution), labels.to(device)
            where = f"step {step}, learning rate {optimizer.param_groups[0]['lr']:.3g}"
            batch = StepBatch(images, labels, subnets=[None], teacher=teacher, in_place=False, where=where)
            optimizer.zero_grad()
            with torch.random.fork_rng(devices=forked):
                torch.manual_seed((settings.seed * GOLDEN_RATIO_64 + step) % 2**63)
                backward(
                    student,
                    batch,
                    distill_loss=settings.distill_loss,
                    distill_weight=settings.distill_weight,
                    label_smoothing=settings.label_smoothing,
                    pieces=settings.grad_accum_steps,
                )
            if settings.clip_grad is not None:
                torch.nn.utils.clip_grad_norm_(parameters, settings.clip_grad)
            optimizer.step()
            bar.update()
        if not seen:
            raise ValueError(f"batches gave nothing for epoch {epoch}")
        if not all(torch.isfinite(parameter).all() for parameter in parameters):
            raise Diverged(f"the weights are no longer finite after epoch {epoch + 1}; {REMEDY}")
    bar.close()
    student.eval()
