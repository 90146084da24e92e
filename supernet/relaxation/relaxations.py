"""Relaxations: how architecture parameters become weights of a gene's options. One function each, in a dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

Draw = Callable[[Tensor, torch.Generator, float], Tensor]
_OFF = 1e-30  # added to any float32 that matters, it changes nothing


class Relaxation(NamedTuple):
    """How the parameters ``alpha`` ``(options,)`` of a gene become weights of its options.

    Attributes:
        help: a few words, for the recipe's reference.
        draw: ``draw(alpha, generator, temperature)`` gives the weights ``(options,)`` of one forward pass; they are
            differentiable in ``alpha`` and random only by the generator (of the CPU).
        probabilities: ``probabilities(alpha)`` adds up to 1: the expected cost and the derived network are told from
            it; differentiable and without randomness.
        initial: ``initial(options, generator)`` gives the parameters to start from.
        penalty: a scalar of ``alpha`` that the method adds to its loss, with a weight of its own; None: none.
        draw_of_weights: what the network's own weights learn with, where it is not ``draw``.
        evaluated: the weights of a network that is evaluated, where they are not the probabilities.
        settle: ``settle(before, after)`` corrects the parameters after an update; None: they stay.
    """

    help: str
    draw: Draw
    probabilities: Callable[[Tensor], Tensor]
    initial: Callable[[int, torch.Generator], Tensor]
    penalty: Callable[[Tensor], Tensor] | None = None
    draw_of_weights: Draw | None = None
    evaluated: Callable[[Tensor], Tensor] | None = None
    settle: Callable[[Tensor, Tensor], Tensor] | None = None


# -- where parameters start ---------------------------------------------------------------------------------------


def small_normal(options: int, generator: torch.Generator) -> Tensor:
    """A thousandth of a standard normal, as DARTS starts (https://arxiv.org/abs/1806.09055)."""
    return 1e-3 * torch.randn(options, generator=generator)


def near_one(options: int, generator: torch.Generator) -> Tensor:
    """Normal around 1 with a deviation of .01, as SNAS starts (https://arxiv.org/abs/1812.09926)."""
    return 1 + 1e-2 * torch.randn(options, generator=generator)


def off_zero(options: int, generator: torch.Generator) -> Tensor:
    """Around 0, and never at it: there, where FairDARTS starts, the gradient of its own loss ``zero_one`` is 0.

    Not far from it either, or that loss would decide what the images should.
    """
    normal = torch.randn(options, generator=generator)
    return normal.sign() * (1e-3 + 1e-3 * normal.abs())


# -- softmax, sigmoid, sparsemax ----------------------------------------------------------------------------------


def softmax(alpha: Tensor) -> Tensor:
    return alpha.softmax(-1)


def draw_softmax(alpha: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    return softmax(alpha / temperature)


def draw_sigmoid(alpha: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """Each option by itself, so that options help each other (FairDARTS); the weights do not add up to 1."""
    return (alpha / temperature).sigmoid()


def share_of_sigmoids(alpha: Tensor) -> Tensor:
    return alpha.sigmoid() / alpha.sigmoid().sum(-1, keepdim=True)


def zero_one(alpha: Tensor) -> Tensor:
    """FairDARTS' loss (https://arxiv.org/abs/1911.12126), as a sum: least where every sigmoid is 0 or 1."""
    return -(alpha.sigmoid() - 0.5).square().sum()


def sparsemax(alpha: Tensor) -> Tensor:
    """The nearest probabilities (https://arxiv.org/abs/1602.02068); unlikely options have exactly 0 and no gradient."""
    descending = alpha.sort(descending=True).values
    above = descending.cumsum(-1) - 1  # what options down to this one have together beyond 1
    count = torch.arange(1, len(alpha) + 1, dtype=alpha.dtype, device=alpha.device)
    support = int((descending * count > above).sum())
    return (alpha - above[support - 1] / support).clamp(min=0)


def draw_sparsemax(alpha: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    return sparsemax(alpha / temperature)


# -- Gumbel's noise -----------------------------------------------------------------------------------------------


def draw_gumbel(alpha: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """The concrete distribution (https://arxiv.org/abs/1611.00712), with which SNAS and FBNet search."""
    return softmax((alpha + _gumbel(alpha, generator)) / temperature)


def draw_gumbel_hard(alpha: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """One option; its gradient is that of ``draw_gumbel`` (straight through), as in GDAS."""
    return _straight_through(draw_gumbel(alpha, generator, temperature))


def _gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of the same shape, drawn again until it is finite."""
    while True:
        noise = -torch.empty(like.shape).exponential_(generator=generator).log()
        if noise.isfinite().all():
            return noise.to(like)


def _straight_through(soft: Tensor) -> Tensor:
    """The largest of ``soft`` as exactly one, with the gradient of ``soft``."""
    hard = torch.zeros_like(soft)
    hard[soft.argmax()] = 1
    return hard + (soft - soft.detach())


# -- binary gates -------------------------------------------------------------------------------------------------


def draw_gates(alpha: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """ProxylessNAS (https://arxiv.org/abs/1812.00332): two options are drawn, then one of these two, which runs.

    Both have the gradient of their gate, times that of the softmax over the two; the others have none. The one that is
    off has a weight that changes no sum but is not 0: networks leave out what has the weight 0, and its gradient is
    told from its output.
    """
    pair = torch.multinomial((alpha.detach() / temperature).softmax(-1).cpu(), 2, generator=generator)
    pair = pair.to(alpha.device)
    soft = (alpha[pair] / temperature).softmax(-1)
    hard = torch.full_like(soft, _OFF)
    hard[torch.multinomial(soft.detach().cpu(), 1, generator=generator).to(alpha.device)] = 1
    return torch.zeros_like(alpha).index_put((pair,), hard + (soft - soft.detach()))


def draw_one(alpha: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """One option by its probability, without a gradient: the path whose weights learn."""
    weights = torch.zeros_like(alpha)
    probabilities = (alpha.detach() / temperature).softmax(-1).cpu()
    weights[torch.multinomial(probabilities, 1, generator=generator).to(alpha.device)] = 1
    return weights


def keep_sum_of_exponentials(before: Tensor, after: Tensor) -> Tensor:
    """``after``, with those that the update moved shifted together, so that others keep their probabilities."""
    moved = after != before
    if not moved.any():
        return after
    return torch.where(moved, after + before[moved].logsumexp(0) - after[moved].logsumexp(0), after)


# -- Dirichlet ----------------------------------------------------------------------------------------------------


def concentration(alpha: Tensor) -> Tensor:
    """DrNAS' parameters of the Dirichlet distribution (https://arxiv.org/abs/2006.10355), above 0."""
    # The exponential itself below 0: elu's difference from it would round to -1.
    return torch.where(alpha > 0, alpha + 1, alpha.clamp(max=0).exp())


def draw_dirichlet(alpha: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """Of the gene's own distribution; the temperature changes nothing.

    A gamma variable of shape ``b`` is one of shape ``b + 1`` times ``u ** (1 / b)`` with uniform ``u``. Its logarithm
    is finite where the variable itself would be rounded to 0. Gradients are implicit (``torch._standard_gamma``).
    """
    beta = concentration(alpha.cpu().double()).clamp(min=1e-30)
    uniform = 1 - torch.rand(beta.shape, dtype=beta.dtype, generator=generator)  # never 0
    gamma = torch._standard_gamma(beta + 1, generator=generator)
    return (gamma.log() + uniform.log() / beta).softmax(-1).to(alpha)


def mean_dirichlet(alpha: Tensor) -> Tensor:
    """The distribution's mean; a softmax of ``alpha`` is another vector."""
    beta = concentration(alpha)
    return beta / beta.sum(-1, keepdim=True)


def kl_to_uniform(alpha: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the flat Dirichlet distribution, DrNAS' penalty."""
    beta = concentration(alpha)
    return kl_divergence(Dirichlet(beta), Dirichlet(torch.ones_like(beta)))


RELAXATIONS: dict[str, Relaxation] = {
    "softmax": Relaxation("every option by its softmax (DARTS)", draw_softmax, softmax, small_normal),
    "sigmoid": Relaxation(
        "every option by its own sigmoid (FairDARTS)",
        draw_sigmoid,
        share_of_sigmoids,
        off_zero,
        penalty=zero_one,
        evaluated=torch.sigmoid,
    ),
    "gumbel": Relaxation("softmax with Gumbel noise (SNAS, FBNet)", draw_gumbel, softmax, near_one),
    "gumbel_hard": Relaxation(
        "one option by Gumbel noise, straight-through gradient (GDAS)", draw_gumbel_hard, softmax, small_normal
    ),
    "gates": Relaxation(
        "one of two sampled options, gradient of their gates (ProxylessNAS)",
        draw_gates,
        softmax,
        small_normal,
        draw_of_weights=draw_one,
        settle=keep_sum_of_exponentials,
    ),
    "dirichlet": Relaxation(
        "a sample of a Dirichlet distribution (DrNAS)", draw_dirichlet, mean_dirichlet, small_normal, kl_to_uniform
    ),
    "sparsemax": Relaxation("the nearest probabilities, of which many are 0", draw_sparsemax, sparsemax, small_normal),
}
