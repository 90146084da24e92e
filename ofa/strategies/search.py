"""Search: the best subnet inside a target's limits, by what the predictors say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ofa.errors import UserError
from ofa.strategies.evolution import Archive, Score, descend, draw, evolve
from ofa.supernet.space import SearchSpace, Subnet

# Where descents start, beside the smallest network: costs that were measured can have more than one valley.
_DRAWS, _STARTS = 1000, 8


class Cost(Protocol):
    """What a network costs: ``ofa.CostTable``, or anything like it that is hashable."""

    name: str
    unit: str

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """Float64 ``(n,)`` in ``unit``, of canonical codes ``(n, genes)``."""


class Predictor(Protocol):
    """``ofa.AccuracyPredictor``, or any regressor over codes; higher is better."""

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """``(n,)`` of canonical codes ``(n, genes)``."""


class InfeasibleLimit(UserError, ValueError):
    """No network of the space meets the limits; the message says which limit and what the cheapest network needs."""


@dataclass(frozen=True)
class SearchResult:
    """The best network found, and all that were evaluated on the way; every number is predicted.

    Attributes:
        accuracy, costs: of ``best``; costs by the cost's name.
        front: the evaluated networks that no other beats in both accuracy and the first limit's cost, cheapest first,
            as ``{"subnet", "accuracy", "costs"}``; without limits it is the best alone.
        history: per generation ``{"generation", "accuracy", "evaluated", "feasible"}``: the best accuracy and the
            number of networks so far, and the share of this generation's candidates that met the limits.
        evaluated: number of distinct networks.
    """

    best: Subnet
    front: list[dict[str, Any]]
    history: list[dict[str, float]]
    accuracy: float
    costs: dict[str, float]
    evaluated: int


def search(
    space: SearchSpace,
    predictor: Predictor,
    *,
    limits: Mapping[Cost, float],
    seed: int = 0,
    population: int = 100,
    generations: int = 30,
    parents: float = 0.25,
    mutation: float = 0.1,
    crossover: float = 0.5,
    progress: bool = False,
) -> SearchResult:
    """The network of highest predicted accuracy whose every cost is at most its limit (in the cost's unit).

    Evolution as published for Once-for-All, whose settings are the defaults: ``parents`` is the share of a population
    that is kept, ``mutation`` the chance that a gene is redrawn, ``crossover`` the share of children made by crossover.
    No network is evaluated twice; the same arguments give the same result. ``progress`` shows a bar.

    Raises ``InfeasibleLimit`` when no network meets the limits, ``UserError`` when an argument is out of range, and
    ``ValueError`` when the predictor answers with something that is not finite.
    """
    settings = {"population": population, "generations": generations}
    settings |= {"parents": parents, "mutation": mutation, "crossover": crossover}
    _check(limits, settings)
    names, highest = [cost.name for cost in limits], np.array(list(limits.values()), float)

    def costs(codes: np.ndarray) -> np.ndarray:
        columns = [np.asarray(cost.predict(codes), float) for cost in limits]
        return np.stack(columns, axis=1) if columns else np.empty((len(codes), 0))

    archive = evolve(
        space,
        predictor.predict,
        costs,
        highest,
        anchors=_anchors(space, limits, costs, highest, seed=seed),
        seed=seed,
        **settings,
        progress=progress,
    )

    def described(row: int) -> dict[str, Any]:
        return {
            "subnet": space.decode(archive.codes[row]),
            "accuracy": float(archive.scores[row]),
            "costs": dict(zip(names, archive.costs[row].tolist(), strict=True)),
        }

    best = described(int(archive.order[0]))
    return SearchResult(
        best=best["subnet"],
        front=[described(row) for row in _front(archive)],
        history=archive.history,
        accuracy=best["accuracy"],
        costs=best["costs"],
        evaluated=len(archive.codes),
    )


def _check(limits: Mapping[Cost, float], settings: dict[str, float]) -> None:
    names = [cost.name for cost in limits]
    for name, limit in zip(names, limits.values(), strict=True):
        if not limit > 0:
            raise UserError(f"limit {name} is {limit}; it must be a number above 0")
        if names.count(name) > 1:
            raise UserError(f"limit {name} is given twice; give each cost one limit")
    allowed = {
        "population": (2, np.inf),
        "generations": (0, np.inf),
        "parents": (0, 0.9),
        "mutation": (0, 1),
        "crossover": (0, 1),
    }
    for name, (low, high) in allowed.items():
        if not low <= settings[name] <= high:
            raise UserError(f"search: {name} is {settings[name]}; it must be from {low} to {high}")


def _anchors(
    space: SearchSpace, limits: Mapping[Cost, float], costs: Score, highest: np.ndarray, *, seed: int
) -> np.ndarray:
    """Feasible codes ``(k, genes)``, at least one: the smallest network where it is feasible, else one by descent."""
    smallest = space.encode(space.smallest)[None]

    def excess(codes: np.ndarray) -> np.ndarray:
        return (np.maximum(costs(codes) - highest, 0) / highest).sum(axis=1)

    if (costs(smallest) <= highest).all():
        return smallest
    drawn = draw(space, _DRAWS, np.random.default_rng(seed))
    code, over = descend(space, excess, _starts(smallest, drawn, excess))
    if over > 0:
        # Start once more from where each limit alone is met, and say so when one cannot be.
        alone = [
            _cheapest(space, cost, limit, _starts(smallest, drawn, cost.predict)) for cost, limit in limits.items()
        ]
        code, over = descend(space, excess, np.stack(alone))
    if over > 0:
        asked = " and ".join(_quantity(cost, limit) for cost, limit in limits.items())
        needed = " and ".join(_quantity(cost, value) for cost, value in zip(limits, costs(code[None])[0], strict=True))
        raise InfeasibleLimit(
            f"limits {asked}: each can be met alone, but no network was found that meets them together; "
            f"the closest has {needed} ({_named(space, code)}); raise one of them"
        )
    return code[None]


def _starts(smallest: np.ndarray, drawn: np.ndarray, objective: Score) -> np.ndarray:
    return np.concatenate([smallest, drawn[objective(drawn).argsort(kind="stable")[:_STARTS]]])


def _cheapest(space: SearchSpace, cost: Cost, limit: float, starts: np.ndarray) -> np.ndarray:
    code, value = descend(space, cost.predict, starts)
    if value > limit:
        raise InfeasibleLimit(
            f"limit {_quantity(cost, limit)}: no network of this space is so cheap; "
            f"the smallest value is {_quantity(cost, value)} ({_named(space, code)}); raise the limit"
        )
    return code


def _quantity(cost: Cost, value: float) -> str:
    return f"{cost.name} {value:.6g} {cost.unit}".rstrip()


def _named(space: SearchSpace, code: np.ndarray) -> str:
    subnet = space.decode(code)
    return f"subnet {subnet.id}: {subnet.to_json()}"


def _front(archive: Archive) -> list[int]:
    if not archive.costs.shape[1]:
        return [int(archive.order[0])]
    by_cost = np.lexsort((-archive.scores, archive.costs[:, 0]))
    scores = archive.scores[by_cost]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(scores)[:-1]])
    return by_cost[scores > best_before].tolist()
