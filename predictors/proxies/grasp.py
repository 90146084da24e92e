"""GraSP: how much the gradient's norm changes when weights are removed (arXiv:2002.07376)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ofa.predictors.proxies.loss_gradients import loss_gradients


def compute(model: nn.Module, images: Tensor, labels: Tensor, generator: object) -> float:
    """The sum over the weights of -weight x (Hessian x gradient).

    Raises ``ValueError`` for a network with an operator that torch cannot differentiate twice.
    """
    for module in model.modules():
        if type(module) in _TWICE_DIFFERENTIABLE:
            module.forward = _TWICE_DIFFERENTIABLE[type(module)]
    try:
        with sdpa_kernel(SDPBackend.MATH):  # the fused attentions have no second derivative
            pairs = loss_gradients(model, images, labels, create_graph=True)
            weights = [weight for weight, _ in pairs]
            product = sum((gradient * gradient.detach()).sum() for _, gradient in pairs)
            curvatures = torch.autograd.grad(product, weights, allow_unused=True, materialize_grads=True)
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise ValueError(f"grasp is not defined here: {error}; take another proxy") from error
    products = (weight.detach() * curvature for weight, curvature in zip(weights, curvatures, strict=True))
    return -sum(float(each.sum()) for each in products)


def _hard_sigmoid(x: Tensor) -> Tensor:
    return F.relu6(x + 3) / 6


# The same functions of operators that have a second derivative.
_TWICE_DIFFERENTIABLE = {nn.Hardsigmoid: _hard_sigmoid, nn.Hardswish: lambda x: x * _hard_sigmoid(x)}
