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

    Each batch is normalised by its own statistics, as in training; mean and variance are then pooled over all batches
    (variance within batches plus variance of their means), so batches of unequal size count by their size. Works on
    extracted models and on a supernet (then for the active subnet's channels). A batch of a single image, which has no
    variance of its own, goes with the batch before it.

    Args:
        batches: normalised images ``(n, channels, height, width)``: one array, several, or a loader of pairs of images
            and labels. They are brought to the model's device and precision.

    Raises:
        ValueError: fewer than two images, or only single values to take a variance of; a batch of integers or of
            another shape, or values that cannot be normalised images (see ``image_batches``). The statistics then stay
            as they were.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    wide = {"dtype": torch.float64}  # the variance is a difference of two large sums
    sums = {
        norm: (0, 0, torch.zeros_like(norm.running_mean, **wide), torch.zeros_like(norm.running_var, **wide))
        for norm in norms
    }
    momenta, was_training = [norm.momentum for norm in norms], [module.training for module in model.modules()]

    def add(norm: _BatchNorm, inputs: tuple[Tensor], _output: Tensor) -> None:
        n, width = inputs[0].numel() // inputs[0].shape[1], inputs[0].shape[1]
        count, _, first, second = sums[norm]
        # Momentum 1: these are the batch's own, the variance unbiased.
        mean, var = norm.running_mean[:width].double(), norm.running_var[:width].double()
        first[:width] += n * mean
        second[:width] += (n - 1) * var + n * mean**2
        sums[norm] = (count + n, width, first, second)

    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    parameter = next(chain(model.parameters(), norms[0].buffers() if norms else ()))
    shape = (getattr(model, "in_chans", None), None, None)
    normalisation = Normalisation.known(getattr(model, "pretrained_cfg", None))
    hooks = [norm.register_forward_hook(add) for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.training, norm.momentum = True, 1.0
        found = image_batches(batches, shape=shape, normalisation=normalisation)
        for batch in _of_two_or_more(found):
            model(batch.to(parameter))
    except BaseException:
        for norm, buffers in zip(norms, kept, strict=True):
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

    for norm, (count, width, first, second) in sums.items():
        if count:  # else its block is switched off
            mean = first[:width] / count
            norm.running_mean[:width] = mean
            norm.running_var[:width] = ((second[:width] - count * mean**2) / (count - 1)).clamp_min(0)
    return model


def _of_two_or_more(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The same images, those that came alone together with the batch before, or the first ones with the one behind."""
    waiting: Tensor | None = None
    for batch in batches:
        if waiting is None or not len(waiting):
            waiting = batch
        elif len(batch) < 2 or len(waiting) < 2:
            waiting = torch.cat([waiting, batch])
        else:
            yield waiting
            waiting = batch
    if waiting is None or len(waiting) < 2:
        raise ValueError(f"calibration needs at least two images; it got {0 if waiting is None else len(waiting)}")
    yield waiting
