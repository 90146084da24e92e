"""GraSP: how much the gradient's norm changes when weights are removed (arXiv:2002.07376)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ofa.predictors.proxies.loss_gradients import loss_gradients

_STEP = 1e-4  # along the gradient, relative to the norm of the weights


def compute(model: nn.Module, images: Tensor, labels: Tensor, generator: object) -> float:
    """The sum over the weights of -weight x (Hessian x gradient).

    The product is the central difference of the gradient along itself, in float64: hard sigmoids and fused attention
    have no second derivative in torch.
    """
    model, images = model.double(), images.double()
    pairs = loss_gradients(model, images, labels)
    weights, directions = ([pair[side] for pair in pairs] for side in (0, 1))
    originals = [weight.clone() for weight in weights]
    length = _norm(directions)
    if not length > 0:
        return 0.0
    step = _STEP * _norm(originals) / length

    def gradients_at(distance: float) -> list[Tensor]:
        with torch.no_grad():
            for layer_weight, original, direction in zip(weights, originals, directions, strict=True):
                layer_weight.copy_(original + distance * direction)
        return [gradient for _, gradient in loss_gradients(model, images, labels)]

    ahead, behind = gradients_at(step), gradients_at(-step)
    changes = (front - back for front, back in zip(ahead, behind, strict=True))
    products = (float((original * change).sum()) for original, change in zip(originals, changes, strict=True))
    return -sum(products) / (2 * step)


def _norm(tensors: list[Tensor]) -> float:
    return sum(float(tensor.square().sum()) for tensor in tensors) ** 0.5
