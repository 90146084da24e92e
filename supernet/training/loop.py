"""The training loop: one linear function over phases, epochs and steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ofa.supernet.space import Subnet
from ofa.supernet.supernet import Supernet
from ofa.supernet.training import sampling
from ofa.supernet.training.checkpoint import Checkpoint, pack_optimizer, part, unpack_optimizer
from ofa.supernet.training.losses import distillation_loss
from ofa.supernet.training.phases import Phase

Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Settings:
    """Everything of a training run that is the same in every phase.

    ``optimizer`` is any of timm's names but kron, whose state no checkpoint holds. ``distill`` weighs the full
    network's soft labels. ``warmup_epochs`` rise linearly in the first phase. ``clip_grad`` is the largest gradient
    norm; None leaves gradients alone.
    """

    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 3e-5
    label_smoothing: float = 0.1
    distill: float = 1.0
    warmup_epochs: float = 0.0
    clip_grad: float | None = None
    seed: int = 0


class Diverged(RuntimeError):
    """The loss or the weights are no longer finite."""


def train(
    net: Supernet,
    phases: Sequence[Phase],
    batches: Batches,
    *,
    steps: int,
    prepare: Callable[[Tensor], Tensor],
    settings: Settings,
    resume: Checkpoint | None = None,
    on_epoch: Callable[[Checkpoint, dict[str, Any]], None] | None = None,
    progress: bool = True,
) -> None:
    """Trains ``net`` in place by progressive shrinking (https://arxiv.org/abs/1908.09791).

    The first phase trains on labels. Every later phase also distils from the full network as the first phase left it,
    in eval mode. Each step draws one resolution and ``phase.subnets`` subnets, and averages their gradients.

    Args:
        batches: epoch number (counted over all phases) to ``steps`` pairs of uint8 images and labels.
        prepare: uint8 images to normalised floats at the same size.
        resume: go on from here; the result is that of an uninterrupted run, bit for bit on a CPU.
        on_epoch: called after every epoch with the state to keep and the epoch's figures (phase, epoch, loss, lr,
            images_per_second, seconds).

    Raises:
        Diverged: naming phase, step, subnet and learning rate; ``on_epoch`` has not been given a bad state.
    """
    device = next(net.parameters()).device
    teacher = None
    if resume:
        net.load_state_dict(part(resume.tensors, "net"))
        if weights := part(resume.tensors, "teacher"):
            teacher = net.extract(net.space.largest)
            teacher.load_state_dict(weights)

    for number, phase in enumerate(phases):
        first_epoch = 0
        if resume and number <= resume.phase:
            first_epoch = resume.epoch if number == resume.phase else phase.epochs
            if first_epoch >= phase.epochs:
                continue
        epochs_before = sum(earlier.epochs for earlier in phases[:number])
        if number > 0 and teacher is None:
            teacher = net.extract(net.space.largest)
        if phase.sort_channels and first_epoch == 0:
            net.sort_channels(opened=phases[number - 1].expand if number else 1)
        optimizer = create_optimizer_v2(
            net, opt=settings.optimizer, lr=phase.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        if first_epoch:
            unpack_optimizer(optimizer, part(resume.tensors, "optimizer"), resume.optimizer)
        total = phase.epochs * steps
        warmup = min(round(settings.warmup_epochs * steps), total - 1) if number == 0 else 0
        scheduler = CosineLRScheduler(  # with a prefix, its length is what follows the warm-up
            optimizer, t_initial=total - warmup, warmup_t=warmup, warmup_prefix=warmup > 0, t_in_epochs=False
        )
        scheduler.step_update(first_epoch * steps)

        net.train()
        bar = tqdm(
            total=total,
            initial=first_epoch * steps,
            desc=f"train {phase.name}",
            unit="step",
            disable=None if progress else True,
        )
        for epoch in range(first_epoch, phase.epochs):
            started, losses, seen = time.perf_counter(), [], 0
            for index, (images, labels) in enumerate(batches(epochs_before + epoch)):
                step = epoch * steps + index
                global_step = epochs_before * steps + step
                subnets = sampling.uniform(net.space, phase, seed=settings.seed, step=global_step)
                where = f"phase {phase.name}, step {step}, learning rate {optimizer.param_groups[0]['lr']:.3g}"
                with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                    torch.manual_seed(_mix(settings.seed, global_step))
                    loss = _step(net, teacher, optimizer, subnets, prepare(images.to(device)), labels, settings, where)
                scheduler.step_update(step + 1)
                losses.append(loss)
                seen += len(labels)
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if not all(torch.isfinite(tensor).all() for tensor in net.state_dict().values()):
                raise Diverged(f"the weights are no longer finite after epoch {epoch + 1} of {where}; {_REMEDY}")
            if on_epoch:
                seconds = time.perf_counter() - started
                figures = {
                    "phase": phase.name,
                    "epoch": epoch + 1,
                    "loss": sum(losses) / len(losses),
                    "lr": optimizer.param_groups[0]["lr"],
                    "images_per_second": seen / seconds,
                    "seconds": seconds,
                }
                on_epoch(_checkpoint(net, teacher, optimizer, number, epoch + 1), figures)
        bar.close()


_REMEDY = "lower the learning rate, or clip gradients (clip_grad)"


def _step(
    net: Supernet,
    teacher: torch.nn.Module | None,
    optimizer: torch.optim.Optimizer,
    subnets: list[Subnet],
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    where: str,
) -> float:
    """One optimizer step on several subnets; returns their mean loss."""
    images, labels = resize(images, subnets[0].resolution), labels.to(images.device)
    soft = None
    if teacher is not None and settings.distill > 0:
        with torch.no_grad():
            soft = teacher(images)
    optimizer.zero_grad()
    total = 0.0
    for subnet in subnets:
        logits = net.activate(subnet)(images)
        loss = distillation_loss(
            logits, labels, soft, label_smoothing=settings.label_smoothing, weight=settings.distill
        )
        value = loss.item()
        if not value - value == 0:  # NaN or infinite
            raise Diverged(f"the loss is {value} in {where}, subnet {subnet.to_json()}; {_REMEDY}")
        (loss / len(subnets)).backward()
        total += value
    if settings.clip_grad is not None:
        torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip_grad)
    optimizer.step()
    return total / len(subnets)


def resize(images: Tensor, resolution: int) -> Tensor:
    """Float images at another size, as image libraries shrink them (bilinear, antialiased), channels_last."""
    if images.shape[-2:] != (resolution, resolution):
        images = F.interpolate(images, size=(resolution, resolution), mode="bilinear", antialias=True)
    return images.contiguous(memory_format=torch.channels_last)


def _checkpoint(
    net: Supernet, teacher: torch.nn.Module | None, optimizer: torch.optim.Optimizer, phase: int, epoch: int
) -> Checkpoint:
    optimizer_tensors, optimizer_values = pack_optimizer(optimizer)
    parts = {
        "net": net.state_dict(),
        "teacher": teacher.state_dict() if teacher is not None else {},
        "optimizer": optimizer_tensors,
    }
    tensors = {f"{prefix}.{name}": tensor for prefix, part in parts.items() for name, tensor in part.items()}
    return Checkpoint(phase, epoch, tensors, optimizer_values)


def _mix(seed: int, step: int) -> int:
    """One 63-bit seed for dropout from (seed, step)."""
    return (seed * 0x9E3779B97F4A7C15 + step) % 2**63
