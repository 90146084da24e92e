"""From probabilities of options to the networks that they mean: the most probable ones inside hard limits.

Genes are independent, so without limits the most probable code has each gene's most probable option. Inside limits it
is the code of least *regret*: how much less probable (in nats) its options are than the most probable ones, summed over
its active genes. A gene of a block that does not run is free to be at its best, so it costs a deep network nothing that
each of its blocks has choices of its own, as a plain sum of log probabilities over active genes would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ofa.supernet.genome import Genome
from ofa.supernet.relaxation.constrained_search import Problem, cheapest, least_regret


class Cost(Protocol):
    """What a network costs: ``ofa.CostTable``, or anything like it that is hashable."""

    name: str
    unit: str

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """Float64 ``(n,)`` in ``unit``, of canonical codes ``(n, genes)``."""


def most_probable(
    space: Genome,
    probabilities: Sequence[np.ndarray],
    *,
    limits: Mapping[Cost, float] | None = None,
    count: int = 1,
) -> np.ndarray:
    """The ``count`` most probable networks whose every cost is at most its limit, the best first: canonical codes.

    Options of probability 0 are never chosen. Equal arguments give equal codes. No network is outside the limits; that
    none inside is better is not proven, since costs are any functions of a code, but small spaces are searched whole.

    Args:
        probabilities: ``(options,)`` of each gene; they need not add up to 1.
        limits: by cost.

    Returns ``(k, genes)``, ``k`` at most ``count``: fewer where no more are found.

    Raises ``ValueError`` for probabilities that do not fit the genes, limits that are no positive numbers, costs of
    another space, and limits that no network meets: which limit, and what the cheapest network found needs.
    """
    limits = dict(limits or {})
    _check_limits(space, limits)
    if count < 1:
        raise ValueError(f"count is {count}; give at least 1")
    problem = Problem(space, _regrets(space, probabilities), list(limits), np.array(list(limits.values()), float))
    found = least_regret(problem, count)
    if not len(found):
        raise ValueError(_why_none(problem))
    return found


def _regrets(space: Genome, probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """What the space makes of the logarithms of the probabilities: ``(genes, most options)``.

    Infinite for options of probability 0, and where a gene has no such option.
    """
    if len(probabilities) != space.num_genes:
        raise ValueError(f"there are probabilities of {len(probabilities)} genes; this space has {space.num_genes}")
    logarithms = np.full((space.num_genes, int(space.num_options.max())), -np.inf)
    for row, values, options in zip(logarithms, probabilities, space.num_options.tolist(), strict=True):
        values = np.asarray(values, np.float64)
        if values.shape != (options,) or not np.isfinite(values).all() or values.min() < 0 or not values.max() > 0:
            raise ValueError(f"probabilities {values.tolist()}: give {options} numbers from 0, not all of them 0")
        with np.errstate(divide="ignore"):
            row[:options] = np.log(values)
    return space.regrets(logarithms)


def _check_limits(space: Genome, limits: Mapping[Cost, float]) -> None:
    for cost, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int | float | np.number) or not 0 < limit < math.inf:
            raise ValueError(f"the limit of {cost.name} is {limit}; it must be a finite number above 0")
        check_same_space(space, cost)


def check_same_space(space: Genome, cost: Cost) -> None:
    """Raises ``ValueError`` for a cost that says that it is of another space."""
    other = getattr(cost, "space", space)
    if other is not space and other != space:
        raise ValueError(f"the cost {cost.name} is of another search space; make or measure it for this one")


def _why_none(problem: Problem) -> str:
    """Which limit no network meets, and what the cheapest one found needs."""
    for number, cost in enumerate(problem.limited):
        code = cheapest(problem, problem.limited[number : number + 1], problem.highest[number : number + 1])
        least = float(cost.predict(code[None])[0])
        if least > problem.highest[number]:
            return (
                f"no network has {cost.name} of at most {_quantity(problem.highest[number], cost)}: the cheapest found "
                f"needs {_quantity(least, cost)}; raise the limit, or search another space"
            )
    nearest = cheapest(problem, problem.limited, problem.highest)
    needs = [
        f"{cost.name} {float(cost.predict(nearest[None])[0]):g} of {_quantity(limit, cost)}"
        for cost, limit in zip(problem.limited, problem.highest, strict=True)
    ]
    return f"no network meets all limits at once: the nearest found needs {', '.join(needs)}; raise one of them"


def _quantity(value: float, cost: Cost) -> str:
    return f"{value:,.6g} {cost.unit}".strip()
