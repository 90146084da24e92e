"""Search: the best subnet inside a target's limits, by what the predictors say."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ofa.errors import UserError
from ofa.strategies.archive import Archive, best_first
from ofa.strategies.differentiable import ARGUMENTS, search_differentiable
from ofa.strategies.learned import DIFFERENTIABLE
from ofa.strategies.limits import Cost, InfeasibleLimit, feasible_codes
from ofa.strategies.pareto import front
from ofa.strategies.problem import Problem, partial_score
from ofa.strategies.result import TOP, SearchResult
from ofa.strategies.settings import chosen
from ofa.strategies.table import STRATEGIES, all_settings
from ofa.strategies.validation import check_costs, check_include, codes_of
from ofa.supernet.genome import Genome
from ofa.supernet.space import Subnet


class Predictor(Protocol):
    """``ofa.AccuracyPredictor``, or any regressor over codes; higher is better."""

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """``(n,)`` of canonical codes ``(n, genes)``."""


def search(
    space: Genome,
    predictor: Predictor | None,
    *,
    limits: Mapping[Cost, float],
    strategy: str = "evolution",
    objectives: Sequence[Cost] | None = None,
    include: Sequence[Subnet] = (),
    avoid: Sequence[Subnet] = (),
    seed: int = 0,
    progress: bool = False,
    **settings: Any,
) -> SearchResult:
    """The network of highest predicted accuracy whose every cost is at most its limit (in the cost's unit).

    No network is evaluated twice. The same arguments give the same result, except where ``seconds`` ends a search: the
    time is looked at between generations, so the first population is always evaluated. A search ends after
    ``generations``, when ``patience`` of them in a row improved nothing (the best, or for ``"nsga2"`` the front), when
    ``seconds`` have passed, or when no new network is found.

    Args:
        strategy: ``"evolution"`` as published for Once-for-All, whose settings are the defaults; ``"nsga2"`` for a
            whole front of high accuracy and low ``objectives``; ``"random"`` to compare with; ``"differentiable"`` to
            learn from images, with ``net``, ``images`` and ``labels``. The others of ``STRATEGIES`` are in
            docs/methods.md, with what was measured of each.
        objectives: any costs, with a limit or without; by default the first limit's, and all limits' for ``"nsga2"``.
        include: networks that are evaluated first, and so among the first parents.
        avoid: networks that are neither evaluated nor returned.
        progress: whether to show a bar.
        settings: ``population`` (100 networks a generation), ``generations`` (30), ``patience`` and ``seconds`` (none);
            of those that breed ``mutation`` (0.1, the chance that a gene is redrawn) and ``crossover`` (0.5, the
            fraction of offspring that has two parents); of evolution ``parents`` (0.25, the fraction of its population
            that it keeps); of the others those in their settings classes (docs/recipe.md lists all); of
            ``"differentiable"`` those of ``ofa.strategies.differentiable.search_differentiable``, which needs no
            predictor. Those that the strategy does not have are not used.

    Raises ``InfeasibleLimit`` when no network meets the limits, ``UserError`` when an argument is out of range or
    contradicts another, and ``ValueError`` when the predictor answers with something that is not finite.
    """
    started = time.monotonic()
    if strategy not in (*STRATEGIES, DIFFERENTIABLE):
        raise UserError(f"search: strategy is {strategy!r}; there are {', '.join((*STRATEGIES, DIFFERENTIABLE))}")
    if unknown := set(settings) - set(all_settings()) - set(ARGUMENTS):
        known = ", ".join((*all_settings(), *ARGUMENTS))
        raise UserError(f"search: no strategy has the setting {min(unknown)}; there are {known}")
    if strategy == DIFFERENTIABLE:
        if objectives or include or avoid:
            raise UserError(f"search: {DIFFERENTIABLE} has no objectives, include or avoid; leave them out")
        own = {name: value for name, value in settings.items() if name in ARGUMENTS}
        return search_differentiable(space, predictor, limits=limits, seed=seed, progress=progress, **own)

    # A strategy with several objectives trades accuracy against all limited costs; the others break ties by the first.
    method = STRATEGIES[strategy]
    if objectives is None:
        objectives = list(limits)[: None if method.multi_objective else 1]
    if method.multi_objective and not objectives:
        raise UserError(f"search: {strategy} trades accuracy against costs; give limits or objectives")
    own_settings = chosen(method.settings, settings)

    # The costs of limits and objectives, a column each.
    check_costs(space, limits, objectives)
    tables = list(dict.fromkeys([*limits, *objectives]))

    def costs(codes: np.ndarray) -> np.ndarray:
        columns = [np.asarray(cost.predict(codes), float) for cost in tables]
        return np.stack(columns, axis=1) if columns else np.empty((len(codes), 0))

    # The networks to start from: those to include, else one that meets the limits.
    included, avoided = codes_of(space, "include", include), codes_of(space, "avoid", avoid)
    check_include(space, limits, included, avoided, include)
    problem = Problem(
        space,
        predictor.predict,
        costs,
        limits=np.array([limits.get(cost, np.inf) for cost in tables], float),
        objectives=tuple(tables.index(cost) for cost in objectives),
        feasible_seeds=included if len(included) else feasible_codes(space, limits, seed=seed),
        include=included,
        avoid=avoided,
        partial_score=partial_score(predictor),
        seed=seed,
        deadline=math.inf if own_settings.seconds is None else started + own_settings.seconds,
        progress=progress,
    )
    archive = method.run(problem, own_settings)
    if not archive.history:
        raise InfeasibleLimit("search: every network that was found inside the limits is one to avoid; avoid fewer")
    return _result(problem, archive, [cost.name for cost in tables])


def _result(problem: Problem, archive: Archive, names: list[str]) -> SearchResult:
    codes, scores, costs = archive.networks()

    def described(row: int) -> dict[str, Any]:
        return {
            "subnet": problem.space.decode(codes[row]),
            "accuracy": float(scores[row]),
            "costs": dict(zip(names, costs[row].tolist(), strict=True)),
        }

    order = best_first(scores, costs)
    best = described(int(order[0]))
    rows = front(np.column_stack([costs[:, list(problem.objectives)], -scores])) if problem.objectives else []
    return SearchResult(
        best=best["subnet"],
        front=[described(int(row)) for row in rows] or [best],
        top=[problem.space.decode(codes[row]) for row in order[:TOP]],
        history=archive.history,
        accuracy=best["accuracy"],
        costs=best["costs"],
        evaluated=len(codes),
    )
