"""SynFlow: how much signal flows through all paths of weights together (arXiv:2006.05467)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ofa.predictors.proxies.network import NORMS, weighted_layers


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: object) -> float:
    """The sum over the weights of weight x gradient of the summed logits of an image of ones.

    Every parameter is replaced by its absolute value, so that no paths cancel, and norms pass their input on, since
    they would undo its scale. In float64: the sum of a deep network is beyond float32. Needs only the images' shape.
    """
    model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    for module in model.modules():
        if isinstance(module, NORMS):
            module.register_forward_hook(_passed_on)
    weights = [layer.weight for layer in weighted_layers(model)]
    logits = model(torch.ones_like(images[:1], dtype=torch.float64))
    gradients = torch.autograd.grad(logits.sum(), weights, allow_unused=True, materialize_grads=True)
    flows = [float((weight.detach() * gradient).sum()) for weight, gradient in zip(weights, gradients, strict=True)]
    if min(flows) < 0:
        raise ValueError(
            "synflow is not defined here: signals cancel although all weights are positive, as in attention; take "
            "another proxy"
        )
    return sum(flows)


def _passed_on(norm: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """The norm's input, activated where timm has joined the activation function to the norm."""
    return norm.act(inputs[0]) if hasattr(norm, "act") else inputs[0]
