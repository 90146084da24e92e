"""Costs in the loss of an architecture search: published terms, and a hinge on hard limits. One function each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Costs(Protocol):
    """A cost table (``ofa.CostTable``), as far as a search's loss knows it."""

    name: str
    unit: str

    def expected(self, probabilities: Sequence[Tensor]) -> Tensor:
        """The expected cost under each gene's probabilities, with their gradient."""


@dataclass(frozen=True)
class Cost:
    """The expected cost of a step, and what it is compared with.

    Attributes:
        expected: a scalar with a gradient.
        reference: the limit, or without one the cost of a network drawn uniformly.
        limited: whether ``reference`` is a limit.
        name, unit: of the table.
    """

    expected: Tensor
    reference: float
    limited: bool
    name: str = "cost"
    unit: str = ""


@dataclass(frozen=True)
class TermSettings:
    """Settings of the terms; each reads its own.

    Attributes:
        weight: of the cost beside the loss (``hinge``: at the end of the search), or FBNet's alpha.
        exponent: FBNet's beta, MnasNet's w.
    """

    weight: float = 1.0
    exponent: float = 1.0


def fbnet(loss: Tensor, costs: Sequence[Cost], settings: TermSettings, progress: float) -> Tensor:
    """``loss * weight * log(cost) ** exponent`` (https://arxiv.org/abs/1812.03443, equation 2), times it for each cost.

    The paper's latencies are in microseconds, so those in milliseconds are turned into these.

    Raises ``ValueError`` for a cost of at most 1, whose logarithm has no power.
    """
    for cost in costs:
        micro = cost.expected * (1000 if cost.unit == "ms" else 1)
        if not micro > 1:
            raise ValueError(
                f"the term 'fbnet' takes a power of the logarithm of {cost.name}, which is {micro.item():.3g}; it must "
                "be above 1: use the term 'proxyless', 'mnasnet' or 'hinge'"
            )
        loss = loss * settings.weight * micro.log() ** settings.exponent
    return loss


def proxyless(loss: Tensor, costs: Sequence[Cost], settings: TermSettings, progress: float) -> Tensor:
    """``loss + weight * cost / reference`` (https://arxiv.org/abs/1812.00332, equation 7)."""
    for cost in costs:
        loss = loss + settings.weight * cost.expected / cost.reference
    return loss


def mnasnet(loss: Tensor, costs: Sequence[Cost], settings: TermSettings, progress: float) -> Tensor:
    """``loss * (cost / reference) ** exponent``: MnasNet's reward (https://arxiv.org/abs/1807.11626) as a loss."""
    for cost in costs:
        loss = loss * (cost.expected / cost.reference) ** settings.exponent
    return loss


def hinge(loss: Tensor, costs: Sequence[Cost], settings: TermSettings, progress: float) -> Tensor:
    """The relative excess over each limit, by a weight that rises linearly from 0, as in PLiNIO's DUCCIO.

    Costs without a limit do nothing.
    """
    for cost in costs:
        if cost.limited:
            loss = loss + settings.weight * progress * torch.relu(cost.expected / cost.reference - 1)
    return loss


class CostTerm(NamedTuple):
    """A way to put costs into the loss.

    Attributes:
        help: a few words.
        apply: ``apply(loss, costs, settings, progress)`` gives the new loss; ``progress`` is the share of the search
            that is done.
        settings: the published ones.
    """

    help: str
    apply: Callable[[Tensor, Sequence[Cost], TermSettings, float], Tensor]
    settings: TermSettings


COST_TERMS: dict[str, CostTerm] = {
    "fbnet": CostTerm("the loss times a power of the cost's logarithm", fbnet, TermSettings(weight=0.2, exponent=0.6)),
    "proxyless": CostTerm("the cost added to the loss", proxyless, TermSettings(weight=0.2)),
    "mnasnet": CostTerm("the loss times a power of the cost", mnasnet, TermSettings(exponent=0.07)),
    "hinge": CostTerm("what a limit is exceeded by, ever more", hinge, TermSettings(weight=2.0)),
}


def reference(table: Costs, num_options: Sequence[int]) -> float:
    """What a network costs whose options are drawn uniformly.

    Raises ``ValueError`` naming the table when its cost has no gradient, or is not above 0.
    """
    uniform = [torch.full((int(count),), 1 / int(count), requires_grad=True) for count in num_options]
    cost = table.expected(uniform)
    if not (isinstance(cost, Tensor) and cost.requires_grad):
        raise ValueError(
            f"{table.name} is a cost table without gradient: its expected cost does not follow the probabilities, and "
            "it cannot be in the loss; give it as a limit of the derived network alone"
        )
    if not (math.isfinite(value := cost.item()) and value > 0):
        raise ValueError(f"{table.name} is {value} for a network drawn uniformly; costs must be above 0")
    return value


def expected_costs(
    tables: Sequence[Costs], probabilities: Sequence[Tensor], *, references: Sequence[float], limited: Sequence[bool]
) -> list[Cost]:
    """Of a step, in the order of ``tables``."""
    return [
        Cost(table.expected(probabilities), ref, has_limit, table.name, getattr(table, "unit", ""))
        for table, ref, has_limit in zip(tables, references, limited, strict=True)
    ]
