"""Batch norm statistics of one network, measured on its own activations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ofa.supernet.image_batches import Normalisation, image_batches


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Tensor | np.ndarray | Any] | Tensor | np.ndarray) -> nn.Module:
    """Replaces every batch norm's running statistics by those of ``batches``, in place; returns the model.

    Each batch is normalised by its own statistics, as in training. Mean and variance are then pooled over
    all batches (variance within batches plus variance of their means), weighted by the batches' sizes.
    Works on extracted models and on a supernet, there for the channels of the active subnet. A batch of a
    single image, which has no variance of its own, is joined to the batch before it. A model without batch norms
    is not run at all, but its batches are checked.

    Args:
        batches: normalised images ``(n, channels, height, width)``: one array, several, or a loader of
            pairs of images and labels. They are moved to the model's device and precision.

    Raises:
        ValueError: fewer than two images, or a single value per channel, which has no variance; a batch of
            integers or of another shape, or values that cannot be normalised images (see
            ``image_batches``). The old statistics are then restored.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    totals = {norm: _Totals(norm) for norm in norms}
    parameter = next(chain(model.parameters(), norms[0].buffers() if norms else ()), None)
    shape = (getattr(model, "in_chans", None), None, None)
    normalisation = Normalisation.known(getattr(model, "pretrained_cfg", None))

    # What the forward passes change.
    momenta, was_training = [norm.momentum for norm in norms], [module.training for module in model.modules()]
    old_buffers = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    hooks = [norm.register_forward_hook(lambda norm, inputs, _output: totals[norm].add(inputs[0])) for norm in norms]
    try:
        model.eval()
        # With momentum 1, the running statistics after a forward pass are those of the batch.
        for norm in norms:
            norm.training, norm.momentum = True, 1.0
        images = image_batches(batches, shape=shape, normalisation=normalisation)
        for batch in _join_single_images(images):
            if norms:
                model(batch.to(parameter))
    except BaseException:
        for norm, buffers in zip(norms, old_buffers, strict=True):
            for name, buffer in buffers.items():
                norm.get_buffer(name).copy_(buffer)
        raise
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in zip(model.modules(), was_training, strict=True):
            module.training = training

    for total in totals.values():
        total.store()
    return model


class _Totals:
    """Sums over all batches of the inputs of one batch norm, from which its pooled statistics follow.

    In float64, because the variance is a difference of two large sums.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        self._norm = norm
        self._count = self._width = 0
        self._first = torch.zeros_like(norm.running_mean, dtype=torch.float64)
        self._second = torch.zeros_like(norm.running_var, dtype=torch.float64)

    def add(self, inputs: Tensor) -> None:
        """Adds a batch, whose mean and unbiased variance are the running ones."""
        n, width = inputs.numel() // inputs.shape[1], inputs.shape[1]
        mean, var = self._norm.running_mean[:width].double(), self._norm.running_var[:width].double()
        self._first[:width] += n * mean
        self._second[:width] += (n - 1) * var + n * mean**2
        self._count, self._width = self._count + n, width

    def store(self) -> None:
        """Sets the running statistics, unless the batch norm is in an inactive block, which has no inputs."""
        if self._count:
            count, width = self._count, self._width
            mean = self._first[:width] / count
            self._norm.running_mean[:width] = mean
            var = (self._second[:width] - count * mean**2) / (count - 1)
            self._norm.running_var[:width] = var.clamp_min(0)


def _join_single_images(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The same images, with batches of one joined to the batch before; a first one to the batch after it."""
    pending: Tensor | None = None
    for batch in batches:
        if pending is None or not len(pending):
            pending = batch
        elif len(batch) < 2 or len(pending) < 2:
            pending = torch.cat([pending, batch])
        else:
            yield pending
            pending = batch
    if pending is None or len(pending) < 2:
        raise ValueError(f"calibration needs at least two images; it got {0 if pending is None else len(pending)}")
    yield pending
