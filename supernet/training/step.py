"""One optimizer step on several subnets of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from timm.data import Mixup
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet
from ofa.supernet.training import distributed as ranks
from ofa.supernet.training.losses import SOFT_LOSSES, distillation_loss

REMEDY = "lower the learning rate, or clip gradients (clip_grad)"


class Diverged(RuntimeError):
    """The loss or the weights are no longer finite."""


class TooFewImages(ValueError):
    """No batch of an epoch had two images."""


class OutOfMemory(RuntimeError):
    """A step did not fit in memory."""


@dataclass(frozen=True)
class Lesson:
    """What the subnets of one step learn from.

    ``images`` are normalised floats at the step's resolution, ``labels`` classes ``(b,)`` or probabilities
    ``(b, classes)``. ``in_place``: the first subnet learns from labels, the others from its soft labels.
    """

    images: Tensor
    labels: Tensor
    subnets: Sequence[Subnet]
    teacher: nn.Module | None
    in_place: bool
    where: str


def backward(
    net: Supernet,
    lesson: Lesson,
    *,
    soft_loss: str,
    distill: float,
    label_smoothing: float,
    parts: int = 1,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> float:
    """Adds the mean gradient of the subnets' losses to the parameters; returns the mean loss.

    The batch, of two images or more, is worked on in ``parts`` pieces (of two images at least), which takes less memory
    and gives the same gradients but for batch norm.

    Raises:
        Diverged: a loss is not finite; names the subnet.
        OutOfMemory: names the subnet, the batch and the resolution.
    """
    soft = SOFT_LOSSES[soft_loss]
    losses, shares, subnets = [], [], []
    parts = max(1, min(parts, len(lesson.images) // 2))  # batch norm takes no variance of a single image
    pieces = zip(lesson.images.tensor_split(parts), lesson.labels.tensor_split(parts), strict=True)
    for images, labels in pieces:
        share = len(images) / len(lesson.images)
        teacher_logits = None
        if lesson.teacher is not None and distill > 0:
            with torch.no_grad(), autocast():
                teacher_logits = lesson.teacher(images)
        for number, subnet in enumerate(lesson.subnets):
            follows = lesson.in_place and number > 0
            try:
                with unregularised(net) if follows else nullcontext(), autocast():
                    logits = net.activate(subnet)(images)
                    if follows:
                        loss = soft(logits, teacher_logits)
                    else:
                        loss = distillation_loss(
                            logits,
                            labels,
                            teacher_logits,
                            label_smoothing=label_smoothing,
                            weight=distill,
                            soft=soft,
                        )
                scale(loss * (share / len(lesson.subnets))).backward()
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _no_memory(error):
                    raise
                raise OutOfMemory(
                    f"out of memory in {lesson.where}, subnet {subnet.to_json()}, {len(images)} images of "
                    f"{images.shape[-1]} pixels at a time; lower batch_size, raise accumulate (the same batch in more "
                    "pieces), or leave out the largest resolutions"
                ) from error
            if lesson.in_place and number == 0:
                teacher_logits = logits.detach()
            losses.append(loss.detach())
            shares.append(share)
            subnets.append(subnet)
    values = torch.stack(losses).tolist()
    for value, subnet in zip(values, subnets, strict=True):
        if not value - value == 0:  # NaN or infinite
            raise Diverged(f"the loss is {value} in {lesson.where}, subnet {subnet.to_json()}; {REMEDY}")
    return sum(value * share for value, share in zip(values, shares, strict=True)) / len(lesson.subnets)


def _no_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


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
    model, paths = net.model, [module for module in net.model.modules() if isinstance(module, DropPath)]
    rates = [model.drop_rate, *(path.drop_prob for path in paths)]
    model.drop_rate = 0.0
    for path in paths:
        path.drop_prob = 0.0
    try:
        yield
    finally:
        model.drop_rate = rates[0]
        for path, rate in zip(paths, rates[1:], strict=True):
            path.drop_prob = rate


def resize(images: Tensor, resolution: int) -> Tensor:
    """Float images at another size, as image libraries shrink them (bilinear, antialiased), channels_last."""
    if images.shape[-2:] != (resolution, resolution):
        images = F.interpolate(images, size=(resolution, resolution), mode="bilinear", antialias=True)
    return images.contiguous(memory_format=torch.channels_last)


def mix(mixup: Mixup, images: Tensor, labels: Tensor, *, key: Sequence[int]) -> tuple[Tensor, Tensor]:
    """timm's mixup or cutmix of a batch, drawn from ``key``.

    It mixes pairs: of an odd batch the last image is left out. timm draws from NumPy's global state, which is put back.
    """
    even = len(images) // 2 * 2
    if even == 0:
        return images, labels
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(np.random.SeedSequence(list(key)).generate_state(4))  # noqa: NPY002
    try:
        return mixup(images[:even].clone(memory_format=torch.channels_last), labels[:even])
    finally:
        np.random.set_state(before)  # noqa: NPY002


def step_seed(seed: int, step: int) -> int:
    """One 63-bit seed for dropout from (seed, step, this rank)."""
    return (seed * 0x9E3779B97F4A7C15 + step + (ranks.rank() << 40)) % 2**63
