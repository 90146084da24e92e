"""Relaxations: how architecture parameters become weights of a gene's options. One function each, in a dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Relaxation(NamedTuple):
    """How the parameters ``alpha`` ``(options,)`` of a gene become weights of its options.

    Attributes:
        help: a few words, for the recipe's reference.
        draw: ``draw(alpha, generator, temperature)`` gives the weights ``(options,)`` of one forward pass; they are
            differentiable in ``alpha`` and random only by the generator (of the CPU).
        probabilities: ``probabilities(alpha)`` gives what the expected cost, evaluation and the derived network are
            told from; differentiable and without randomness.
        initial: ``initial(options, generator)`` gives the parameters to start from.
        penalty: a scalar of ``alpha`` that the method adds to its loss, with a weight of its own; None: none.
    """

    help: str
    draw: Callable[[Tensor, torch.Generator, float], Tensor]
    probabilities: Callable[[Tensor], Tensor]
    initial: Callable[[int, torch.Generator], Tensor]
    penalty: Callable[[Tensor], Tensor] | None = None


def small_normal(options: int, generator: torch.Generator) -> Tensor:
    """A thousandth of a standard normal, as DARTS starts (https://arxiv.org/abs/1806.09055)."""
    return 1e-3 * torch.randn(options, generator=generator)


def _softmax(alpha: Tensor) -> Tensor:
    return alpha.softmax(-1)


def _draw_softmax(alpha: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    return (alpha / temperature).softmax(-1)


RELAXATIONS: dict[str, Relaxation] = {
    "softmax": Relaxation("every option by its softmax (DARTS)", _draw_softmax, _softmax, small_normal),
}
