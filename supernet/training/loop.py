"""The training loop: one linear function over phases, epochs and steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor
from tqdm import tqdm

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.threads import Threads, fixed
from ofa.supernet.training import distributed as ranks
from ofa.supernet.training.checkpoint import Checkpoint, check_space, pack_optimizer, part, unpack_optimizer
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.sampling import SAMPLERS, Judge, draw_resolution
from ofa.supernet.training.settings import (
    Settings,
    compile_blocks,
    compiling,
    make_mixup,
    make_optimizer,
    precision_of,
    scheduler_of,
)
from ofa.supernet.training.step import (
    REMEDY,
    Diverged,
    Lesson,
    TooFewImages,
    backward,
    batch_losses,
    mix,
    resize,
    step_seed,
)

Batches = Callable[[int, int], Iterable[tuple[Tensor, Tensor]]]


class Stopped(Exception):
    """Training ended early because ``stop`` said so; the state was given to ``keep``."""


def train(
    net: Supernet,
    phases: Sequence[Phase],
    batches: Batches,
    *,
    steps: int,
    prepare: Callable[[Tensor], Tensor],
    settings: Settings,
    macs: Callable[[np.ndarray], np.ndarray] | None = None,
    score: Callable[[np.ndarray], np.ndarray] | None = None,
    resume: Checkpoint | None = None,
    keep: Callable[[Checkpoint], None] | None = None,
    keep_due: Callable[[int], bool] = lambda step: False,
    on_epoch: Callable[[Supernet, Phase, dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    threads: Threads | None = None,
    progress: bool = True,
) -> None:
    """Trains ``net`` in place, phase after phase (https://arxiv.org/abs/1908.09791 and others; see ``phases``).

    Each step draws one resolution and, by the phase's sampling, its subnets, and averages their gradients. With several
    processes (torch.distributed), each works on its own share of the batch and gradients are averaged over all images.

    Args:
        batches: (epoch counted over all phases, first step) to this rank's uint8 images and labels of the remaining
            steps of that epoch; a batch may be empty, and one of a single image counts as empty.
        steps: of an epoch.
        prepare: uint8 images to normalised floats at the same size.
        macs: of codes ``(n, genes)``; only attentive sampling asks. ``score`` too: lower is better; by default the loss
            on the step's batch.
        resume: go on from here; the result is that of an uninterrupted run, bit for bit on a CPU.
        keep: given the state to store, after every epoch, whenever ``keep_due`` (of the steps done in all) says so, and
            before ``Stopped``.
        on_epoch: given the network (its moving average, if there is one), the phase and the epoch's figures: phase,
            epoch, loss, lr, images_per_second, seconds, seconds_left, and the number of torch's threads.
        threads: asked and told in every step; the caller enters its ``used()``. Results depend on the number chosen,
            which checkpoints hold as ``values["threads"]``. By default torch's number stays.

    Raises:
        ValueError: ``resume`` is of another space; names the genes that differ.
        Diverged: naming phase, step, subnet and learning rate; ``keep`` has not been given a bad state.
        OutOfMemory: naming subnet, batch and resolution.
        TooFewImages: a whole epoch had no batch of two images.
        Stopped: ``stop`` returned true, here or on another rank.
    """
    threads = threads or fixed()
    device = next(net.parameters()).device
    forked = [device] if device.type == "cuda" else []
    teacher = None
    if resume:
        check_space(resume, net.space)
        net.load_state_dict(part(resume.tensors, "net"))
        if weights := part(resume.tensors, "teacher"):
            teacher = net.extract(net.space.largest)
            teacher.load_state_dict(weights)
    if settings.compile:
        compile_blocks(net)
    if mixup := make_mixup(net, settings):
        settings = replace(settings, label_smoothing=0.0)  # the mixed labels have it
    precision, scaler = precision_of(settings, device)

    for number, phase in enumerate(phases):
        total = phase.epochs * steps
        first = 0
        if resume and number <= resume.phase:
            first = resume.step if number == resume.phase else total
            if first >= total:
                continue
        epochs_before = sum(earlier.epochs for earlier in phases[:number])
        if phase.teacher == "full" and teacher is None:
            teacher = net.extract(net.space.largest)
        if phase.sort_channels and first == 0:
            net.sort_channels(opened=phases[number - 1].expand if number else 1)
        optimizer = make_optimizer(net, settings, lr=phase.lr)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        ema = ModelEmaV3(net, decay=settings.ema, use_warmup=True) if settings.ema else None
        sums = {"loss": 0.0, "steps": 0, "images": 0, "seconds": 0.0}
        if first:
            unpack_optimizer(optimizer, part(resume.tensors, "optimizer"), resume.values["optimizer"])
            if state := resume.values["scaler"]:  # empty where float16 was not used
                scaler.load_state_dict(state)
            sums = dict(resume.values["sums"])
            if ema:
                ema.module.load_state_dict(part(resume.tensors, "ema"))
        scheduler = scheduler_of(optimizer, settings, steps=steps, total=total, warm=number == 0)
        scheduler.step_update(first)

        net.train()
        bar = tqdm(
            total=total,
            initial=first,
            desc=f"train {phase.name}",
            unit="step",
            disable=None if progress and ranks.rank() == 0 else True,
        )
        step = first
        while step < total:
            epoch, index = divmod(step, steps)
            before = step
            for _, (images, labels) in zip(range(index, steps), batches(epochs_before + epoch, index), strict=False):
                started = time.perf_counter()
                global_step = epochs_before * steps + step
                rate = optimizer.param_groups[0]["lr"]
                loss = 0.0
                where = f"phase {phase.name}, step {step}, learning rate {rate:.3g}"
                if len(labels) == 1:  # of which batch norm takes no variance
                    images, labels = images[:0], labels[:0]
                images, labels = images.to(device), labels.to(device)
                if len(labels):
                    images = prepare(images)
                    if mixup:
                        images, labels = mix(mixup, images, labels, key=(settings.seed, global_step, ranks.rank()))
                optimizer.zero_grad()
                with torch.random.fork_rng(devices=forked), compiling(settings, phase):
                    torch.manual_seed(step_seed(settings.seed, global_step))
                    lesson = _lesson(
                        net,
                        phase,
                        teacher,
                        images,
                        labels,
                        settings=settings,
                        step=global_step,
                        macs=macs,
                        score=score,
                        where=where,
                    )
                    if len(labels):
                        learn = partial(
                            backward,
                            net,
                            lesson,
                            soft_loss=settings.soft_loss,
                            distill=settings.distill,
                            label_smoothing=settings.label_smoothing,
                            parts=settings.accumulate,
                            autocast=precision,
                            scale=scaler.scale,
                        )
                        if threads.due():
                            threads.measure_training(net, learn)
                            started = time.perf_counter()
                        loss = learn()
                count, (loss_sum, stops) = ranks.average_gradients(
                    parameters, images=len(labels), sums=(loss * len(labels), float(stop()))
                )
                if count:
                    if settings.clip_grad is not None:
                        scaler.unscale_(optimizer)
                        torch.nn.utils.clip_grad_norm_(parameters, settings.clip_grad)
                    scaler.step(optimizer)
                    scaler.update()
                    sums["loss"] += loss_sum / count
                    sums["steps"] += 1
                    sums["images"] += count
                step += 1
                scheduler.step_update(step)
                if ema:
                    ema.update(net, step=step)
                    if step == total:
                        net.load_state_dict(ema.module.state_dict())
                if step == total:
                    ranks.share_buffers(net)
                seconds = time.perf_counter() - started
                if threads.chooses:
                    threads.took(seconds, _work(net.space, lesson, macs))
                sums["seconds"] += seconds
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

                done = step % steps == 0
                due = bool(keep) and (done or bool(stops) or keep_due(global_step + 1))
                if done or stops or due:
                    when = f"after epoch {step // steps}" if done else f"in epoch {step // steps + 1}"
                    _check_finite(net, f"{when} of {where}")
                if done:
                    if not sums["images"]:
                        raise TooFewImages(f"no batch of epoch {epochs_before + epoch + 1} had two readable images")
                    if on_epoch:
                        on_epoch(ema.module if ema else net, phase, _figures(phases, number, step // steps, sums, rate))
                    sums = {"loss": 0.0, "steps": 0, "images": 0, "seconds": 0.0}
                    net.train()
                if due:
                    state = {"scaler": scaler.state_dict(), "sums": sums, "threads": threads.state}
                    keep(_checkpoint(net, teacher, ema, optimizer, state, number, step, epochs_before, steps))
                if stops:
                    raise Stopped(f"in phase {phase.name} after step {step} of {total}")
            if step == before:
                raise ValueError(f"batches gave nothing for epoch {epochs_before + epoch} from step {index} on")
        bar.close()


def _lesson(
    net: Supernet,
    phase: Phase,
    teacher: torch.nn.Module | None,
    images: Tensor,
    labels: Tensor,
    *,
    settings: Settings,
    step: int,
    macs: Callable[[np.ndarray], np.ndarray] | None,
    score: Callable[[np.ndarray], np.ndarray] | None,
    where: str,
) -> Lesson:
    """The step's subnets and what they learn from. With an empty batch too: ranks may choose the subnets together."""
    space = net.space
    rng = np.random.default_rng([settings.seed, step])
    resolution = draw_resolution(space, rng)
    if len(labels):
        images = resize(images, space.resolutions[resolution])
    different = settings.ranks == "different" and ranks.count() > 1
    if different:
        rng = np.random.default_rng([settings.seed, step, ranks.rank()])

    def loss(codes: np.ndarray) -> np.ndarray:
        if score:
            return score(codes)
        losses = batch_losses(net, codes, images, labels) if len(labels) else np.zeros(len(codes), np.float32)
        return losses if different else ranks.mean(losses, images.device, images=len(labels))

    def no_macs(codes: np.ndarray) -> np.ndarray:
        raise ValueError(f"sampling {phase.sampling} needs `macs`: for instance CostTable.macs(...).predict")

    judge = Judge(macs=macs or no_macs, loss=loss)
    codes = SAMPLERS[phase.sampling](space, phase, rng=rng, resolution=resolution, judge=judge)
    return Lesson(
        images=images,
        labels=labels,
        subnets=[space.decode(code) for code in codes],
        teacher=teacher if phase.teacher == "full" else None,
        in_place=phase.teacher == "in_place",
        where=where,
    )


def _work(space: SearchSpace, lesson: Lesson, macs: Callable[[np.ndarray], np.ndarray] | None) -> float:
    """How much a step had to do: MACs of its subnets where they can be told, else pixels."""
    if macs is None:
        return float(len(lesson.subnets) * lesson.images.numel())
    return float(len(lesson.images) * macs(np.stack([space.encode(one) for one in lesson.subnets])).sum())


def _check_finite(net: Supernet, where: str) -> None:
    if not all(torch.isfinite(tensor).all() for tensor in net.state_dict().values()):
        raise Diverged(f"the weights are no longer finite {where}; {REMEDY}")


def _figures(
    phases: Sequence[Phase], number: int, epoch: int, sums: dict[str, Any], rate: float
) -> dict[str, str | int | float]:
    phase = phases[number]
    seconds = sums["seconds"]
    # A step's time hangs on its number of networks; a frozen teacher's forward pass is about a third of one.
    costs = [each.subnets + (each.teacher == "full") / 3 for each in phases]
    left = (phase.epochs - epoch) * costs[number] + sum(
        later.epochs * cost for later, cost in zip(phases[number + 1 :], costs[number + 1 :], strict=True)
    )
    return {
        "phase": phase.name,
        "epoch": epoch,
        "loss": sums["loss"] / max(sums["steps"], 1),
        "lr": rate,
        "images_per_second": sums["images"] / seconds,
        "seconds": seconds,
        "seconds_left": seconds * left / costs[number],
        "threads": torch.get_num_threads(),
    }


def _checkpoint(
    net: Supernet,
    teacher: torch.nn.Module | None,
    ema: ModelEmaV3 | None,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    phase: int,
    step: int,
    epochs_before: int,
    steps: int,
) -> Checkpoint:
    optimizer_tensors, optimizer_values = pack_optimizer(optimizer)
    parts = {
        "net": net.state_dict(),
        "teacher": teacher.state_dict() if teacher is not None else {},
        "ema": ema.module.state_dict() if ema else {},
        "optimizer": optimizer_tensors,
    }
    tensors = {f"{prefix}.{name}": tensor for prefix, part in parts.items() for name, tensor in part.items()}
    return Checkpoint(
        phase=phase,
        step=step,
        steps=epochs_before * steps + step,
        epochs=epochs_before + step // steps,
        space=net.space.to_dict(),
        tensors=tensors,
        values={"optimizer": optimizer_values, **state},
    )
