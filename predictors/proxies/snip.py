"""SNIP: how much the loss changes when weights are removed (arXiv:1810.02340)."""

from __future__ import annotations

from torch import Tensor, nn

from ofa.predictors.proxies.loss_gradients import loss_gradients


def compute(model: nn.Module, images: Tensor, labels: Tensor, generator: object) -> float:
    """The sum over the weights of |gradient x weight|, the connection sensitivity."""
    pairs = loss_gradients(model, images, labels)
    return sum(float((weight.detach() * gradient).abs().sum()) for weight, gradient in pairs)
