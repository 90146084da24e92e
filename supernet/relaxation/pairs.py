"""Batches of two halves of the training data, one for the weights and one for the architecture parameters."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from torch import Tensor

from ofa.supernet.training.loop import Batches


def paired(weights: Batches, architecture: Batches, *, steps_per_epoch: int, architecture_steps: int) -> Batches:
    """Both halves' batches side by side: ``(images, labels, other images, other labels)`` of each step.

    The second half is read through again and again, each time as its own next epoch, so that no batch comes back before
    all others were there. What a step gets depends on its number alone, as resumed searches need it.

    Args:
        weights, architecture: see ``loop.train``; give other images, never those of a test split.
        steps_per_epoch: of ``weights``.
        architecture_steps: of one pass through ``architecture``; at least 1.

    Raises ``ValueError`` when one half is empty, and later when ``architecture`` gives fewer batches than it should.
    """
    if steps_per_epoch < 1 or architecture_steps < 1:
        raise ValueError(
            f"{steps_per_epoch} batches are left for the weights and {architecture_steps} for the architecture; both "
            "need one at least: give more images, another share, or a smaller batch_size"
        )

    def batches(epoch: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        others = _cycled(architecture, epoch * steps_per_epoch + start, architecture_steps)
        for own, other in zip(weights(epoch, start), others, strict=False):
            yield (*own[:2], *other[:2])

    return batches


def _cycled(batches: Batches, start: int, steps: int) -> Iterator[tuple[Tensor, ...]]:
    """All batches from number ``start`` on, of which each epoch has ``steps``."""
    epoch, index = divmod(start, steps)
    while True:
        given = 0
        for batch in islice(batches(epoch, index), steps - index):
            yield batch
            given += 1
        if index + given < steps:  # the next step's number would find another batch than a resumed search does
            raise ValueError(f"epoch {epoch} of the architecture's batches ended after {index + given} of {steps}")
        epoch, index = epoch + 1, 0
