"""Where the gradient of architecture parameters comes from: bilevel of first or second order, or a single level.

The weights ``w`` learn from the training images; the architecture parameters ``a`` from an objective on images of their
own, since a network that is large enough fits the training images with any architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

# The gradient of a loss in each of the given tensors; one that it does not depend on has zeros.
Gradients = Callable[[Sequence[Tensor]], list[Tensor]]
_REACH = 0.01  # how far the weights are moved for a difference of gradients: DARTS' epsilon times the norm


@dataclass(frozen=True)
class Bilevel:
    """What one update of the architecture parameters is told from.

    Attributes:
        weights, alphas: the parameters of the two levels.
        training: gradients of the training loss; each call has the same images, draws and dropout.
        objective: gradients of what the architecture parameters minimise: the loss on their own images, and costs.
        virtual_step: from the training loss' gradients in ``weights`` to where the next step would bring these.
        rates: the learning rate of each of the ``weights``.
        mixed_weight: of the objective beside the training loss, where both are added.
    """

    weights: Sequence[Tensor]
    alphas: Sequence[Tensor]
    training: Gradients
    objective: Gradients
    virtual_step: Callable[[Sequence[Tensor]], list[Tensor]]
    rates: Sequence[float]
    mixed_weight: float = 1.0


def first_order(problem: Bilevel) -> list[Tensor]:
    """The objective's own gradient: the weights are taken as they are (https://arxiv.org/abs/1806.09055, xi = 0)."""
    return problem.objective(problem.alphas)


def mixed(problem: Bilevel) -> list[Tensor]:
    """The training loss' gradient and the objective's, added (MiLeNAS, https://arxiv.org/abs/2003.12238)."""
    parts = (problem.training(problem.alphas), problem.objective(problem.alphas))
    return [one + problem.mixed_weight * other for one, other in zip(*parts, strict=True)]


def second_order(problem: Bilevel) -> list[Tensor]:
    """The objective's gradient after a virtual step of the weights (DARTS, equations 7 and 8).

    The weights' dependence on the architecture is a product with a Hessian matrix, which is a difference of the
    training loss' gradients at weights moved both ways. The weights are put back exactly.
    """
    weights, alphas = list(problem.weights), list(problem.alphas)
    virtual = problem.virtual_step(problem.training(weights))
    with _moved(weights, virtual):
        gradients = problem.objective([*alphas, *weights])
    direct, slopes = gradients[: len(alphas)], gradients[len(alphas) :]

    # Each weight's own learning rate scales what the virtual step does to it.
    direction = [rate * slope for rate, slope in zip(problem.rates, slopes, strict=True)]
    norm = torch.stack([part.norm() for part in direction]).norm()
    if norm == 0:
        return direct
    reach = _REACH / norm
    sides = []
    for sign in (1, -1):
        with _moved(weights, [old + sign * reach * part for old, part in zip(weights, direction, strict=True)]):
            sides.append(problem.training(alphas))
    return [one - (ahead - behind) / (2 * reach) for one, ahead, behind in zip(direct, *sides, strict=True)]


@contextmanager
def _moved(weights: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the weights have other values; afterwards the old ones, bit for bit."""
    before = [weight.detach().clone() for weight in weights]
    _copy(weights, values)
    try:
        yield
    finally:
        _copy(weights, before)


@torch.no_grad()
def _copy(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)


class Update(NamedTuple):
    """How the architecture parameters' gradient is told.

    Attributes:
        help: a few words.
        gradients: one tensor each.
        own_images: whether the objective is on images that the weights do not learn from.
    """

    help: str
    gradients: Callable[[Bilevel], list[Tensor]]
    own_images: bool = True


UPDATES: dict[str, Update] = {
    "first_order": Update("bilevel, the weights taken as they are", first_order),
    "second_order": Update("bilevel, after a virtual step of the weights", second_order),
    "mixed": Update("one level: training loss and validation loss together (MiLeNAS)", mixed),
    "single_level": Update("one level: the training images alone (SNAS)", first_order, own_images=False),
}


@torch.no_grad()
def momentum_step(
    optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor]:
    """Where a step of gradient descent with the optimizer's rate, momentum and weight decay brings ``weights``.

    As DARTS' virtual step. An optimizer without momentum, or before its first step, has none to add.
    """
    groups = {id(weight): group for group in optimizer.param_groups for weight in group["params"]}
    moved = []
    for weight, gradient in zip(weights, gradients, strict=True):
        group = groups[id(weight)]
        step = gradient + group.get("weight_decay", 0.0) * weight
        buffer = optimizer.state.get(weight, {}).get("momentum_buffer")
        if buffer is not None:
            step = step + group.get("momentum", 0.0) * buffer
        moved.append(weight - group["lr"] * step)
    return moved


def rates(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor]) -> list[float]:
    """The learning rate of each of the ``weights``."""
    found = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    return [found[id(weight)] for weight in weights]


@contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """Inside, forward passes may move batch norm's statistics; afterwards they are the old ones."""
    before = [buffer.clone() for buffer in net.buffers()]
    try:
        yield
    finally:
        for buffer, old in zip(net.buffers(), before, strict=True):
            buffer.copy_(old)
