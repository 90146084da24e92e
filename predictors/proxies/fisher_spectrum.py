"""Fisher spectrum: whether all weights can be learnt equally well (VKDNW, arXiv:2502.04975)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ofa.predictors.proxies.network import batch_norms, weighted_layers
from ofa.predictors.proxies.proxy import NoScore

_LAYERS = 128  # the first ones, each represented by its first weight
_IMAGES = 16
_DIRECTIONS = 10  # in the space of the logits; more classes are looked at in random directions
_DECILES = torch.arange(1, 10, dtype=torch.float64) / 10


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: torch.Generator) -> float:
    """The number of layers with weights, plus the entropy of the deciles of the Fisher information's eigenvalues.

    The Fisher information of the predicted classes is that of one weight of every layer, on the first 16 images.
    Batch norms keep the statistics of these images, so that each image has a gradient of its own.
    """
    images = images[:_IMAGES]
    model.requires_grad_(False)
    _keep_statistics(model, images)
    scalars = [_scalar_of_first_weight(layer, len(images)) for layer in weighted_layers(model)[:_LAYERS]]
    rows = torch.cat([row.double() for row in _fisher_rows(model(images), scalars, generator)])

    # Eigenvalues of rows' x rows from singular values, which are stabler; there are as many as weights.
    values = torch.linalg.svdvals(rows).square() / len(images)
    values = torch.cat([values, values.new_zeros(max(0, len(scalars) - len(values)))])
    deciles = torch.quantile(values, _DECILES.to(values.device))
    if not float(deciles.sum()) > 0:
        raise NoScore("no weight changes what is predicted: the Fisher information is 0")
    shares = deciles / deciles.sum()
    return len(weighted_layers(model)) + float(torch.special.entr(shares).sum())


def _keep_statistics(model: nn.Module, images: Tensor) -> None:
    """From now on batch norms normalise by the statistics of these images."""
    norms = [norm for norm in batch_norms(model) if norm.running_mean is not None]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model(images)
    for norm in norms:
        norm.eval()


def _scalar_of_first_weight(layer: nn.Module, images: int) -> Tensor:
    """Zeros ``(images,)`` of which each is added to the layer's first weight, for one image alone."""
    scalar = torch.zeros(images, device=layer.weight.device, requires_grad=True)
    # A layer of one channel that has this weight alone.
    first = copy.deepcopy(layer)
    first.weight, first.bias = nn.Parameter(torch.zeros_like(layer.weight[:1, :1]), requires_grad=False), None
    first.weight.view(-1)[0] = 1.0
    first.groups = first.in_channels = first.out_channels = 1

    def add(_layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        pieces, of_images = divmod(len(output), images)  # windows of an image count as pieces of it
        if of_images or not pieces:
            return output  # it does not read the images
        channel = output.ndim - 1 if isinstance(layer, nn.Linear) else 1
        factors = scalar.repeat_interleave(pieces).view(-1, *[1] * (output.ndim - 1))
        changed = first(inputs[0].detach().narrow(channel, 0, 1)) * factors
        rest = output.narrow(channel, 1, output.shape[channel] - 1)
        return torch.cat([output.narrow(channel, 0, 1) + changed, rest], channel)

    layer.register_forward_hook(add)
    return scalar


def _fisher_rows(logits: Tensor, scalars: list[Tensor], generator: torch.Generator) -> Iterator[Tensor]:
    """Rows ``(images, scalars)`` whose products with themselves sum up to the Fisher information of all images.

    It is J' (diag(p) - p p') J for probabilities p and the Jacobian J of the logits.
    """
    probabilities, classes = logits.detach().softmax(1), logits.shape[1]
    if classes <= _DIRECTIONS:
        directions = torch.eye(classes)
    else:
        signs = torch.randint(2, (_DIRECTIONS, classes), generator=generator) * 2.0 - 1
        directions = signs / _DIRECTIONS**0.5
    for direction in directions.to(logits):
        scaled = direction * probabilities.sqrt()
        weights = scaled - probabilities * scaled.sum(1, keepdim=True)
        gradients = torch.autograd.grad(
            logits, scalars, weights, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        yield torch.stack(gradients, dim=1)
