"""Zen score: how far a small change of the input moves the last features of a network (arXiv:2102.01063)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ofa.predictors.proxies.network import batch_norms, noise_like, weighted_layers

_STEP = 0.01  # of the perturbation, in standard deviations of the input
_REPEATS = 2


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: torch.Generator) -> float:
    """log of the mean distance that last features move by, plus the log of every batch norm's standard deviation.

    Weights and images are Gaussian noise; the images given tell the shape alone. Batch norms hold every signal at the
    scale 1, so the second sum restores how it would have grown. The last features are what the last batch norm that
    runs gives. Unlike in the paper, shortcuts stay: a plain module cannot be run without them.
    """
    spreads: list[Tensor] = []
    features: list[Tensor] = []

    def keep(_norm: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        # The mean over channels of their variance in the batch, before it is normalised away.
        dimensions = [0, *range(2, output.ndim)]
        spreads.append(inputs[0].double().var(dimensions).mean().sqrt())
        features.append(output)

    for norm in batch_norms(model):
        norm.register_forward_hook(keep)
        if norm.weight is not None:
            nn.init.ones_(norm.weight)  # some networks begin with branches that are switched off
    scores = []
    with torch.no_grad():
        for _ in range(_REPEATS):
            for layer in weighted_layers(model):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
            noise, change = noise_like(images, generator), noise_like(images, generator)
            model(noise + _STEP * change)
            moved = features[-1]
            spreads.clear()
            model(noise)
            distance = (moved - features[-1]).double().flatten(1).norm(dim=1).mean()
            grown = torch.stack(spreads)
            scores.append(distance.log() + grown[grown > 0].log().sum())  # a norm that reads a constant tells nothing
            features.clear()
            spreads.clear()
    return float(torch.stack(scores).mean())
