"""Gradients of the training loss, which several proxies are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.predictors.proxies.network import weighted_layers


def loss_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, *, create_graph: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """The weight of every convolution and linear layer with its gradient of the mean cross-entropy.

    It is zero for a layer that the images do not reach. ``create_graph``: it can be differentiated again.
    """
    weights = [layer.weight for layer in weighted_layers(model)]
    loss = F.cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(loss, weights, create_graph=create_graph, allow_unused=True, materialize_grads=True)
    return list(zip(weights, gradients, strict=True))
