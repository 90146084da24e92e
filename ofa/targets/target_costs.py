"""A target's costs by name, counted and measured, and its limits on some of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ofa.config.recipe import Recipe
from ofa.predictors.costs.table import Table
from ofa.targets.cost_files import load_tables
from ofa.targets.deployment import Deployment, deployment_of
from ofa.targets.measuring import counted


class TargetCosts(NamedTuple):
    """What a target's networks cost: ``costs`` by name, and the ``limits`` on some of them in their units."""

    deployment: Deployment
    costs: dict[str, Table]
    limits: dict[Table, float]


def target_costs(recipe: Recipe, folder: Path, name: str, model_kwargs: Mapping[str, int]) -> TargetCosts:
    """Of the target ``name``, whose measured tables are in the run's ``folder``.

    Raises ``UserError`` for a table that was measured elsewhere than where it is asked for.
    """
    target = recipe.targets[name]
    deployment = deployment_of(target)
    measured = load_tables(folder, name, target, threads=recipe.measure.threads)
    costs: dict[str, Table] = {**counted(deployment, recipe.space, model_kwargs), **measured}
    limits = {costs[limit.cost]: limit.absolute(costs[limit.cost]) for limit in target.limits}
    return TargetCosts(deployment, costs, limits)
