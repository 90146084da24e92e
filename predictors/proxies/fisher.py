"""Fisher: how much the loss changes when channels are removed (arXiv:1801.05787, as in arXiv:2101.08134)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.predictors.proxies.network import weighted_layers


def compute(model: nn.Module, images: Tensor, labels: Tensor, generator: object) -> float:
    """The sum over the channels that layers give of half the mean square of their summed activation x gradient."""
    outputs: list[tuple[nn.Module, Tensor]] = []

    def keep(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs.append((layer, output))

    for layer in weighted_layers(model):
        layer.register_forward_hook(keep)
    loss = F.cross_entropy(model(images), labels)
    activations = [output for _, output in outputs]
    gradients = torch.autograd.grad(loss, activations, allow_unused=True, materialize_grads=True)
    return sum(
        _saliency(layer, activation * gradient)
        for (layer, activation), gradient in zip(outputs, gradients, strict=True)
    )


def _saliency(layer: nn.Module, products: Tensor) -> float:
    """Of activation x gradient, whose channels are the last dimension of a linear layer and the second of others."""
    channel = products.ndim - 1 if isinstance(layer, nn.Linear) else 1
    positions = [dimension for dimension in range(1, products.ndim) if dimension != channel]
    of_channels = products.sum(positions) if positions else products
    return float(of_channels.detach().square().mean(0).sum() / 2)
