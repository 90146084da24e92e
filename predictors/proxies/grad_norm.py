"""Gradient norm: how strongly the loss asks the weights to change (arXiv:2101.08134, section 3)."""

from __future__ import annotations

from torch import Tensor, nn

from ofa.predictors.proxies.loss_gradients import loss_gradients


def compute(model: nn.Module, images: Tensor, labels: Tensor, generator: object) -> float:
    """The sum over the layers of the Euclidean norm of the gradient of their weights."""
    return sum(float(gradient.norm()) for _, gradient in loss_gradients(model, images, labels))
