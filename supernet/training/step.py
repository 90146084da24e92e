"""One step: the gradients of several networks of one batch, and the optimizer's update by them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet
from ofa.supernet.training import distributed
from ofa.supernet.training.errors import REMEDY, Diverged, OutOfMemory
from ofa.supernet.training.losses import SOFT_LOSSES, distillation_loss
from ofa.supernet.training.state import TrainState

# 2**64 over the golden ratio (Knuth's multiplicative hash): spreads seeds that follow each other far apart.
GOLDEN_RATIO_64 = 0x9E3779B97F4A7C15


class Batch(NamedTuple):
    """What a step function is given: normalised images, labels ``(b,)`` or, mixed, ``(b, classes)``; on the device.

    ``others`` are further tensors of the batch, as they came: the second batch of a bilevel step, say.
    """

    images: Tensor
    labels: Tensor
    others: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class StepBatch:
    """What the networks of one step learn from.

    Attributes:
        images: normalised floats at the step's resolution.
        labels: classes ``(b,)`` or probabilities ``(b, classes)``.
        subnets: the networks; None is the network as it is.
        teacher: gives soft labels, if there is one.
        in_place: the first subnet learns from labels, the others from its soft labels.
        where: phase, step and learning rate, for messages.
        teacher_images: the same images at the teacher's own size; None: ``images``.
    """

    images: Tensor
    labels: Tensor
    subnets: Sequence[Subnet | None]
    teacher: nn.Module | None
    in_place: bool
    where: str
    teacher_images: Tensor | None = None


def backward(
    net: nn.Module,
    batch: StepBatch,
    *,
    distill_loss: str,
    distill_weight: float,
    label_smoothing: float,
    pieces: int = 1,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> float:
    """Adds the mean gradient of the subnets' losses to the parameters; returns the mean loss.

    The batch, of two images or more, is worked on in ``pieces`` (of two images at least), which takes less memory and
    gives the same gradients but for batch norm.

    Raises:
        Diverged: a loss is not finite; names the subnet.
        OutOfMemory: names the subnet, the batch and the resolution.
    """
    soft = SOFT_LOSSES[distill_loss]
    losses, fractions, subnets = [], [], []
    pieces = max(1, min(pieces, len(batch.images) // 2))  # batch norm takes no variance of a single image
    teacher_images = batch.images if batch.teacher_images is None else batch.teacher_images
    split = [tensor.tensor_split(pieces) for tensor in (batch.images, batch.labels, teacher_images)]
    for images, labels, seen_by_teacher in zip(*split, strict=True):
        fraction = len(images) / len(batch.images)

        # A frozen teacher is asked once; the first subnet may teach the others.
        teacher_logits = None
        if batch.teacher is not None and distill_weight > 0:
            with torch.no_grad(), autocast():
                teacher_logits = batch.teacher(seen_by_teacher)
        for number, subnet in enumerate(batch.subnets):
            follows = batch.in_place and number > 0
            try:
                with unregularised(net) if follows else nullcontext(), autocast():
                    logits = (net if subnet is None else net.activate(subnet))(images)
                    if follows:
                        loss = soft(logits, teacher_logits)
                    else:
                        smoothing = {"label_smoothing": label_smoothing, "weight": distill_weight}
                        loss = distillation_loss(logits, labels, teacher_logits, **smoothing, soft=soft)
                scale(loss * (fraction / len(batch.subnets))).backward()
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
                    raise
                raise OutOfMemory(
                    f"out of memory in {batch.where}{_named(subnet)}, {len(images)} images of {images.shape[-1]} "
                    "pixels at a time; lower batch_size, raise grad_accum_steps (the same batch in more pieces), or "
                    "leave out the largest resolutions"
                ) from error
            if batch.in_place and number == 0:
                teacher_logits = logits.detach()
            losses.append(loss.detach())
            fractions.append(fraction)
            subnets.append(subnet)

    # One transfer from the device for all losses.
    values = torch.stack(losses).tolist()
    for value, subnet in zip(values, subnets, strict=True):
        if not math.isfinite(value):
            raise Diverged(f"the loss is {value} in {batch.where}{_named(subnet)}; {REMEDY}")
    return sum(value * part for value, part in zip(values, fractions, strict=True)) / len(batch.subnets)


def _named(subnet: Subnet | None) -> str:
    return f", subnet {subnet.to_json()}" if subnet else ""


def run_measured(state: TrainState, learn: Callable[[], float], *, work: Callable[[], float]) -> float:
    """``learn()``, a forward and backward pass; before it, when it is time, the number of threads is chosen by it.

    ``learn`` may run several times, so it must do nothing but add gradients: no talk between processes, no update.
    ``work`` says how much it has to do (see ``Threads.took``).
    """
    if state.threads.due():
        started = time.perf_counter()
        state.threads.measure_training(state.net, learn)
        state.measuring_seconds += time.perf_counter() - started
    if state.threads.chooses:
        state.work = work()
    return learn()


def apply_gradients(
    state: TrainState,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[Tensor],
    *,
    images: int,
    sums: Sequence[float] = (),
) -> tuple[int, list[float]]:
    """Averages gradients over the ranks' images, clips them and lets the optimizer step; every rank must call it.

    Without an image on any rank, the optimizer does nothing. Returns the images of all ranks, and the added ``sums``.
    """
    total, added = distributed.average_gradients(parameters, images=images, sums=sums)
    if total:
        if state.settings.clip_grad is not None:
            state.scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, state.settings.clip_grad)
        state.scaler.step(optimizer)
    return total, added


@torch.no_grad()
def batch_losses(net: Supernet, codes: np.ndarray, images: Tensor, labels: Tensor) -> np.ndarray:
    """Each network's cross-entropy ``(n,)`` on one batch, normalised by the batch's own statistics."""
    space: SearchSpace = net.space
    with unregularised(net):
        losses = [F.cross_entropy(net.activate(space.decode(code))(images), labels) for code in codes]
    return torch.stack(losses).float().cpu().numpy()


@contextmanager
def unregularised(net: Supernet) -> Iterator[None]:
    """Without dropout and drop-path."""
    rates = [(net.model, "drop_rate")] if hasattr(net.model, "drop_rate") else []  # timm's models without a layer of it
    for module in net.model.modules():
        if isinstance(module, DropPath):
            rates.append((module, "drop_prob"))
        elif isinstance(module, nn.Dropout):
            rates.append((module, "p"))
    before = [getattr(module, name) for module, name in rates]
    for module, name in rates:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for (module, name), rate in zip(rates, before, strict=True):
            setattr(module, name, rate)


def resize(images: Tensor, resolution: int) -> Tensor:
    """Float images at another size, as image libraries shrink them (bilinear, antialiased), channels_last."""
    if images.shape[-2:] != (resolution, resolution):
        images = F.interpolate(images, size=(resolution, resolution), mode="bilinear", antialias=True)
    return images.contiguous(memory_format=torch.channels_last)


def step_seed(seed: int, step: int) -> int:
    """One 63-bit seed for dropout from (seed, step, this rank)."""
    return (seed * GOLDEN_RATIO_64 + step + (distributed.rank() << 40)) % 2**63
