"""A network inside the limits, for a search to start from, or the error that says why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ofa.errors import UserError
from ofa.strategies.problem import Function
from ofa.strategies.variation import sample
from ofa.supernet.genome import DTYPE, Genome
from ofa.supernet.space import Subnet

# Descents start from the best 8 of 1000 samples too: costs that were measured can have more than one local minimum.
_DRAWS, _STARTS = 1000, 8
_SWEEPS = 20  # of a descent at most; it usually converges before


class Cost(Protocol):
    """What a network costs: ``ofa.CostTable``, or anything like it that is hashable."""

    name: str
    unit: str

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """Float64 ``(n,)`` in ``unit``, of canonical codes ``(n, genes)``."""


class InfeasibleLimit(UserError, ValueError):
    """No network of the space meets the limits; the message says which limit and what the cheapest network needs."""


def feasible_codes(space: Genome, limits: Mapping[Cost, float], *, seed: int) -> np.ndarray:
    """Feasible codes ``(k, genes)``, at least one: the smallest network where it is feasible, else one by descent.

    Raises ``InfeasibleLimit``.
    """
    highest = np.array(list(limits.values()), float)
    smallest = space.canonical(np.zeros((1, space.num_genes), DTYPE))

    def costs(codes: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(cost.predict(codes), float) for cost in limits], axis=1)

    def excess(codes: np.ndarray) -> np.ndarray:
        return (np.maximum(costs(codes) - highest, 0) / highest).sum(axis=1)

    if not limits or (costs(smallest) <= highest).all():
        return smallest

    samples = sample(space, _DRAWS, np.random.default_rng(seed))
    code, over = descend(space, excess, _starts(smallest, samples, excess))
    if over > 0:
        # Start once more from where each limit alone is met. This raises when one cannot be met.
        alone = [
            _cheapest(space, cost, limit, _starts(smallest, samples, cost.predict)) for cost, limit in limits.items()
        ]
        code, over = descend(space, excess, np.stack(alone))
    if over > 0:
        limited = " and ".join(quantity(cost, limit) for cost, limit in limits.items())
        needed = " and ".join(quantity(cost, value) for cost, value in zip(limits, costs(code[None])[0], strict=True))
        raise InfeasibleLimit(
            f"limits {limited}: each can be met alone, but no network was found that meets them together; "
            f"the closest has {needed} ({named(space.decode(code))}); raise one of them"
        )
    return code[None]


def descend(space: Genome, objective: Function, starts: np.ndarray) -> tuple[np.ndarray, float]:
    """Coordinate descent from every start at once: the code ``(genes,)`` of the lowest ``objective``, and its value.

    Of an objective that is a sum over blocks this is the minimum.
    """
    codes = space.canonical(starts)
    values = objective(codes)
    rows = np.arange(len(codes))
    for _ in range(_SWEEPS):
        before = values
        for gene, count in enumerate(space.num_options):
            tries = np.repeat(codes[:, None], count, axis=1)
            tries[:, :, gene] = np.arange(count)
            tries = space.canonical(tries.reshape(-1, space.num_genes))
            results = objective(tries).reshape(len(codes), count)
            choice = results.argmin(axis=1)
            lower = results[rows, choice] < values
            chosen = tries.reshape(len(codes), count, -1)[rows, choice]
            codes = np.where(lower[:, None], chosen, codes)
            values = np.where(lower, results[rows, choice], values)
        if np.array_equal(before, values):
            break
    best = int(values.argmin())
    return codes[best], float(values[best])


def quantity(cost: Cost, value: float) -> str:
    """A value with the name and unit of its cost, for messages."""
    return f"{cost.name} {value:.6g} {cost.unit}".rstrip()


def named(subnet: Any) -> str:
    """A network for messages: with its id, where it has one, and all its choices."""
    return f"subnet {subnet.id}: {subnet.to_json()}" if isinstance(subnet, Subnet) else f"network {subnet}"


def _starts(smallest: np.ndarray, samples: np.ndarray, objective: Function) -> np.ndarray:
    """Where to descend from: the smallest network, and the best of the samples."""
    return np.concatenate([smallest, samples[objective(samples).argsort(kind="stable")[:_STARTS]]])


def _cheapest(space: Genome, cost: Cost, limit: float, starts: np.ndarray) -> np.ndarray:
    """The code of lowest cost. Raises ``InfeasibleLimit`` when that is above the limit."""
    code, value = descend(space, cost.predict, starts)
    if value > limit:
        raise InfeasibleLimit(
            f"limit {quantity(cost, limit)}: every subnet costs more; "
            f"the cheapest has {quantity(cost, value)} ({named(space.decode(code))}); raise the limit"
        )
    return code
