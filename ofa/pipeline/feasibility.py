"""Whether a target's limits can be met at all, checked before training.

Counted costs, and those of the user's own files, are known exactly. RAM and flash of a microcontroller are estimated,
and the smallest network is timed; a limit on such a cost is refused only when it is missed by far.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ofa.config.recipe import Recipe
from ofa.config.target import Limit, Target
from ofa.errors import UserError
from ofa.predictors.costs.latency import table as latency
from ofa.predictors.costs.microcontroller import tables as microcontroller
from ofa.predictors.costs.table import Table
from ofa.strategies.limits import InfeasibleLimit, feasible_codes
from ofa.supernet.space import SearchSpace
from ofa.targets import measuring
from ofa.targets.deployment import Deployment, deployment_of

ESTIMATE_MARGIN = 1.15  # compilers may need this much less than estimated
NOISE_MARGIN = 2.0  # this machine may be this much slower now than at its best
_ROUNDS, _REPEATS, _SECONDS = 3, 10, 3.0

ModelKwargs = Mapping[str, int]


def check_limits(recipe: Recipe, model_kwargs: ModelKwargs) -> list[str]:
    """A line for each target whose limits an estimate says are narrow.

    ``model_kwargs``: ``num_classes`` and ``in_chans``.

    Raises ``UserError`` naming the target, the limit and what the cheapest network needs, one line a target.
    """
    lines, problems = [], []
    for name, target in recipe.targets.items():
        deployment = deployment_of(target)
        try:
            exact = known(deployment, recipe.space, model_kwargs, seed=recipe.seed)
            line = _check(target, exact, estimated(deployment, recipe.space, model_kwargs), recipe)
        except (UserError, ValueError) as error:
            problems.append(f"targets.{name}: {error}")
        else:
            lines += [f"limit     {name}: {line}"] if line else []
    if problems:
        raise UserError("\n".join(problems))
    return lines


def known(deployment: Deployment, space: SearchSpace, model_kwargs: ModelKwargs, *, seed: int) -> dict[str, Table]:
    """The costs that need no measurement here, by name."""
    counted = measuring.counted(deployment, space, model_kwargs)
    # What is measured there is more than what is counted: flash is that of a whole program.
    counted = {name: table for name, table in counted.items() if name not in deployment.spec.measures}
    return counted | measuring.own_costs(deployment, space, model_kwargs, seed=seed)


def estimated(deployment: Deployment, space: SearchSpace, model_kwargs: ModelKwargs) -> dict[str, Table]:
    """What a microcontroller's programs will be measured for, by name, as it is estimated before."""
    if deployment.has_latency:
        return {}
    return microcontroller.estimates(deployment.module, space, **model_kwargs, memory=deployment.memory)


def measure_smallest(recipe: Recipe, model_kwargs: ModelKwargs) -> list[str]:
    """A line for each limited cost that the smallest network was measured for, on this machine.

    Raises ``UserError`` for a limit that it misses by more than the noise of a busy machine.
    """
    lines, problems = [], []
    measured: dict[Deployment, dict[str, tuple[float, float]]] = {}
    for name, target in recipe.targets.items():
        deployment = deployment_of(target)
        measurable = (*deployment.spec.tool_costs, *(["latency"] if deployment.timed else []))
        limits = [limit for limit in target.limits if limit.cost in measurable]
        if limits and deployment.remote:
            lines.append(f"limit     {name}: whether {deployment.remote} can meet it is not known before `ofa measure`")
            continue
        for limit in limits:
            if deployment not in measured:
                measured[deployment] = _measure_ends(deployment, recipe, model_kwargs)
            if limit.cost in measured[deployment]:
                text, met = _compare(limit, *measured[deployment][limit.cost])
                (lines if met else problems).append(f"limit     {name}: {text}" if met else f"targets.{name}: {text}")
    if problems:
        raise UserError("\n".join(problems))
    return lines


def _check(target: Target, exact: dict[str, Table], estimated: dict[str, Table], recipe: Recipe) -> str | None:
    """A warning when only the margin of an estimate lets the limits be met; raises ``InfeasibleLimit`` without it."""
    tables = exact | estimated
    limits = {tables[limit.cost]: limit.absolute(tables[limit.cost]) for limit in target.limits if limit.cost in tables}
    try:
        feasible_codes(recipe.space, limits, seed=recipe.seed)
    except InfeasibleLimit as error:
        wider = {
            table: limit * (ESTIMATE_MARGIN if table.name in estimated else 1.0) for table, limit in limits.items()
        }
        if wider == limits:
            raise
        try:
            feasible_codes(recipe.space, wider, seed=recipe.seed)
        except InfeasibleLimit:
            raise error from None
        return f"may not be met, by an estimate ({error})"
    return None


def _measure_ends(deployment: Deployment, recipe: Recipe, model_kwargs: ModelKwargs) -> dict[str, tuple[float, float]]:
    """By cost, what the smallest and the largest network take."""
    space = recipe.space
    pair = [space.smallest, space.largest]
    if not deployment.has_latency:
        figures = microcontroller.costs(deployment.module, space, pair, **model_kwargs, memory=deployment.memory)
        return {name: (figures[0][name], figures[1][name]) for name in figures[0] if name in deployment.spec.tool_costs}
    options: dict[str, Any] = {"runtime": deployment.module, "threads": recipe.measure.threads, **model_kwargs}
    options["part"] = deployment.convert
    times, started = [], time.monotonic()
    while len(times) < _REPEATS and (not times or time.monotonic() - started < _SECONDS):
        times.append(latency.time_subnets(space, pair, rounds=_ROUNDS, **options))
    smallest, largest = np.min(times, axis=0)  # the least disturbed
    return {"latency": (float(smallest), float(largest))}


def _compare(limit: Limit, smallest: float, largest: float) -> tuple[str, bool]:
    """A sentence, and whether the limit may be met."""
    highest = limit.value * largest if limit.relative else limit.value
    unit = " ms" if limit.cost == "latency" else ""
    relative = f" ({limit.value:g}x of the largest network's)" if limit.relative else ""
    text = (
        f"the smallest network takes {smallest:.4g}{unit} here; the {limit.cost} limit is {highest:.4g}{unit}{relative}"
    )
    margin = NOISE_MARGIN if limit.cost == "latency" else 1.0
    if smallest > margin * highest:
        return f"{text}; raise the limit", False
    return text + (", which may be too little" if smallest > 0.9 * highest else ""), True
