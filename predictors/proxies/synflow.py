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

    Raises ``ValueError`` for a network with a softmax, in which positive weights do not make all flows positive.
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
    if _has_softmax(logits):
        raise ValueError(
            "synflow is not defined here: a softmax, as in attention, lets signals compete although all weights are "
            "positive; take another proxy"
        )
    gradients = torch.autograd.grad(logits.sum(), weights, allow_unused=True, materialize_grads=True)
    return sum(float((weight.detach() * gradient).sum()) for weight, gradient in zip(weights, gradients, strict=True))


def _has_softmax(logits: Tensor) -> bool:
    """Whether a softmax is among the operators that made the logits."""
    waiting, seen = [logits.grad_fn], set()
    while waiting:
        operator = waiting.pop()
        if operator is None or operator in seen:
            continue
        if any(name in operator.name() for name in ("Softmax", "ScaledDotProduct")):
            return True
        seen.add(operator)
        waiting += [before for before, _ in operator.next_functions]
    return False


def _passed_on(norm: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """The norm's input, activated where timm has joined the activation function to the norm."""
    return norm.act(inputs[0]) if hasattr(norm, "act") else inputs[0]
