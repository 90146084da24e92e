"""Training a supernet: every step trains some of its subnets, with shared weights, on one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from ofa.supernet.supernet import Supernet
from ofa.supernet.threads import Threads, fixed
from ofa.supernet.training import distributed, loop
from ofa.supernet.training.checkpoint import Checkpoint, check_space, part
from ofa.supernet.training.errors import TooFewImages
from ofa.supernet.training.loop import Batches, Hooks
from ofa.supernet.training.mixup import make_mixup
from ofa.supernet.training.opened import OPENED, is_all_opened, widest
from ofa.supernet.training.phases import Phase, sample_subnets
from ofa.supernet.training.precision import compile_blocks, compiling
from ofa.supernet.training.sampling import CandidateScorer, sample_resolution
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.state import TrainState
from ofa.supernet.training.step import Batch, StepBatch, backward, batch_losses, resize, run_measured

OfCodes = Callable[[np.ndarray], np.ndarray]  # codes (n, genes) to a number each (n,)


def train_supernet(
    net: Supernet,
    phases: Sequence[Phase],
    batches: Batches,
    *,
    steps_per_epoch: int,
    normalize: Callable[..., Any],
    settings: Settings,
    macs: OfCodes | None = None,
    score: OfCodes | None = None,
    resume: Checkpoint | None = None,
    save_checkpoint: Callable[[Checkpoint], None] | None = None,
    checkpoint_due: Callable[[int], bool] = lambda global_step: False,
    on_epoch: Callable[[nn.Module, Phase, dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    threads: Threads | None = None,
    progress: bool = True,
) -> None:
    """Trains ``net`` in place, phase after phase (https://arxiv.org/abs/1908.09791 and others; see ``phases``).

    Each step draws one resolution and, by the phase's sampling, its subnets, and averages their gradients. With several
    processes (torch.distributed), each works on its own rows of the batch and gradients are averaged over all images.

    Args:
        batches: see ``loop.train``.
        normalize: uint8 images to floats at the same size.
        macs: of codes; only attentive sampling asks. ``score`` too: lower is better; by default the loss on the step's
            batch.
        resume: go on from here; the result is that of an uninterrupted run, bit for bit on a CPU.
        save_checkpoint, checkpoint_due, stop: see ``loop.Hooks``.
        on_epoch: given the network (its moving average, if there is one), the phase and the epoch's figures (see
            ``loop.Hooks``).
        threads: asked and told in every step; the caller enters its ``used()``. Results depend on the number chosen,
            which checkpoints hold as ``values["threads"]``. By default torch's number stays.

    Raises:
        ValueError: ``resume`` is of another space; names the genes that differ.
        Diverged: naming phase, step, subnet and learning rate; ``save_checkpoint`` has not been given a bad state.
        OutOfMemory: naming subnet, batch and resolution.
        TooFewImages: a whole epoch had no batch of two images.
        Stopped: ``stop`` returned true, here or on another rank.
    """
    if resume:
        check_space(resume, net.space)
    mixup = make_mixup(settings, num_classes=net.num_classes)
    if mixup:
        settings = replace(settings, label_smoothing=0.0)  # the mixed labels have it

    # Where training stands: at the beginning, or where it was interrupted.
    state = TrainState(
        net=net,
        phases=phases,
        steps_per_epoch=steps_per_epoch,
        settings=settings,
        space=net.space.to_dict(),
        threads=threads or fixed(),
    )
    if resume:
        if part(resume.tensors, "teacher"):
            state.teacher = net.extract(net.space.largest)
        state.load(resume)
        before = resume.values.get(OPENED, {})  # older checkpoints lack it
        net.opened = widest(before, *(phase.open for phase in phases[: resume.phase + 1]))
    if settings.compile:
        compile_blocks(net)

    def epoch_ended(state: TrainState, figures: dict[str, Any]) -> None:
        if figures["loss"] is None:
            raise TooFewImages(f"no batch of epoch {state.epochs} had two readable images")
        if on_epoch:
            on_epoch(state.averaged, state.phase, figures)

    def save(checkpoint: Checkpoint) -> None:
        save_checkpoint(replace(checkpoint, values={**checkpoint.values, OPENED: net.opened}))

    hooks = Hooks(
        begin_phase=_begin_phase,
        on_epoch=epoch_ended,
        save_checkpoint=save if save_checkpoint else None,
        checkpoint_due=checkpoint_due,
        stop=stop,
    )
    step = partial(shrinking_step, macs=macs, score=score)
    loop.train(state, step, batches, normalize=normalize, mixup=mixup, hooks=hooks, progress=progress)


def _begin_phase(state: TrainState) -> None:
    """The teacher is the full network as it is before the first phase that wants one, and channels are sorted.

    They stay where they are when every option was trained before: nothing could be won, and rounding would differ.
    """
    net, phase = state.net, state.phase
    if phase.teacher == "full" and state.teacher is None:
        state.teacher = net.extract(net.space.largest)
    if phase.sort_channels and not is_all_opened(net):
        net.sort_channels()
    net.opened = widest(net.opened, phase.open)


def shrinking_step(state: TrainState, batch: Batch, *, macs: OfCodes | None, score: OfCodes | None) -> float:
    """The gradients of the step's subnets, averaged; returns their mean loss (see ``loop`` on step functions)."""
    settings, net = state.settings, state.net
    with compiling(settings, state.phase):
        step_batch = choose_subnets(state, batch, macs=macs, score=score)
        if not len(batch.labels):
            return 0.0
        learn = partial(
            backward,
            net,
            step_batch,
            distill_loss=settings.distill_loss,
            distill_weight=settings.distill_weight,
            label_smoothing=settings.label_smoothing,
            pieces=settings.grad_accum_steps,
            autocast=state.autocast,
            scale=state.scaler.scale,
        )

        def work() -> float:  # MACs where they can be told, else pixels
            if macs is None:
                return float(len(step_batch.subnets) * step_batch.images.numel())
            codes = np.stack([net.space.encode(subnet) for subnet in step_batch.subnets])
            return float(len(step_batch.images) * macs(codes).sum())

        return run_measured(state, learn, work=work)


def choose_subnets(state: TrainState, batch: Batch, *, macs: OfCodes | None, score: OfCodes | None) -> StepBatch:
    """The step's subnets, and what they learn from. With an empty batch too: ranks may choose the subnets together."""
    net, phase, settings, images, labels = state.net, state.phase, state.settings, batch.images, batch.labels
    space = net.space

    # All ranks draw the same resolution, and the same subnets unless each is to draw its own.
    rng = np.random.default_rng([settings.seed, state.global_step])
    resolution = sample_resolution(space, rng)
    if len(labels):
        images = resize(images, space.resolutions[resolution])
    independent = settings.subnets_per_rank == "independent" and distributed.world_size() > 1
    if independent:
        rng = np.random.default_rng([settings.seed, state.global_step, distributed.rank()])

    # What attentive sampling asks of its candidates.
    def loss(codes: np.ndarray) -> np.ndarray:
        if score:
            return score(codes)
        losses = batch_losses(net, codes, images, labels) if len(labels) else np.zeros(len(codes), np.float32)
        return losses if independent else distributed.mean(losses, images.device, images=len(labels))

    def no_macs(codes: np.ndarray) -> np.ndarray:
        raise ValueError(f"sampling {phase.sampling} needs `macs`: for instance CostTable.macs(...).predict")

    scorer = CandidateScorer(macs=macs or no_macs, loss=loss)
    codes = sample_subnets(space, phase, rng=rng, resolution=resolution, scorer=scorer)
    return StepBatch(
        images=images,
        labels=labels,
        subnets=[space.decode(code) for code in codes],
        teacher=state.teacher if phase.teacher == "full" else None,
        in_place=phase.teacher == "in_place",
        where=str(state),
    )
