"""Epochs that fit the time: the recipe's own steps are timed, as ``ofa check`` does."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ofa.config.recipe import Recipe
from ofa.data.loader import open_data
from ofa.errors import UserError
from ofa.init.devices import ChosenTarget
from ofa.init.images import ImageFacts
from ofa.init.spaces import Candidate
from ofa.pipeline.estimate import RunSeconds, run_seconds, training_macs
from ofa.predictors.costs.cost_table import CostTable
from ofa.report.words import duration

_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SHARE = 0.85  # of the time is planned: a machine that others use is slower
_COLLECTED = 0.25  # of the time at most measures subnets
_MIN_SUBNETS = 40
_SMALLEST_BATCH, _LARGEST_BATCH, _STEPS = 8, 64, 30


@dataclass(frozen=True)
class Plan:
    """What the recipe will say, and the seconds that it is expected to take here."""

    candidate: Candidate
    batch_size: int
    epochs: int  # of the whole training
    subnets: int
    limits: dict[str, dict[str, float]]  # by target
    seconds: float
    budget: float

    @property
    def fits(self) -> bool:
        return self.seconds <= self.budget


def seconds_of(text: str) -> float:
    """``2h``, ``90m``, ``1h30m`` or ``45s`` in seconds. Raises ``UserError``."""
    compact = text.lower().replace(" ", "")
    found = re.findall(r"([0-9]+(?:\.[0-9]+)?)(sec|s|min|m|h|d)", compact)
    if not found or "".join(map("".join, found)) != compact:
        raise UserError(f"--time {text}: write hours and minutes such as 2h, 90m or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in found)
    if not 60 <= seconds <= 1000 * _UNITS["d"]:
        raise UserError(f"--time {text}: must be from one minute to 1000 days")
    return seconds


def make_plan(
    images: ImageFacts,
    targets: Sequence[ChosenTarget],
    candidates: Iterable[Candidate],
    *,
    budget: float,
    told: Callable[[str], None],
) -> Plan:
    """The first of ``candidates`` with enough epochs within ``budget`` seconds; else the last, with those that fit.

    ``told`` gets a line for each that is timed.
    """
    plan = None
    for candidate in candidates:
        plan = _planned(images, targets, candidate, budget=budget)
        text = " ".join(f"{key} {value}" for key, value in candidate.space.items())
        told(f"timed     {text}: {plan.epochs} epochs in about {duration(plan.seconds)}")
        if plan.epochs >= candidate.min_epochs and plan.fits:
            break
    return plan


def _planned(images: ImageFacts, targets: Sequence[ChosenTarget], candidate: Candidate, *, budget: float) -> Plan:
    batch_size = batch_size_of(images.counts["train"])
    limits = {target.name: dict(target.way.limits) for target in targets}
    plan = Plan(candidate, batch_size, candidate.max_epochs, 100, limits, 0.0, budget)
    recipe = Recipe.from_dict(recipe_values(images, targets, plan), source="ofa init")
    limits = {target.name: _reachable(recipe, images, target) for target in targets}

    data = open_data(recipe.data, resolution=recipe.space.resolutions[-1], seed=recipe.seed)
    seconds = run_seconds(recipe, data)
    macs = CostTable.macs(recipe.space, num_classes=len(data.classes), in_chans=data.channels)
    per_mac = seconds.training / training_macs(recipe, data, macs)
    subnets, accuracies = _collected(recipe, seconds, budget)

    def with_epochs(epochs: int) -> Recipe:
        return recipe.model_copy(update={"train": recipe.train.model_copy(update={"total_epochs": epochs})})

    def total(epochs: int) -> float:
        finetuning = seconds.finetuning * epochs / candidate.max_epochs  # a share of the training
        return per_mac * training_macs(with_epochs(epochs), data, macs) + accuracies + finetuning + seconds.rest

    choices = range(1, candidate.max_epochs + 1)
    epochs = max(1, bisect_right(choices, _SHARE * budget, key=total))
    return Plan(candidate, batch_size, epochs, subnets, limits, total(epochs), budget)


def _collected(recipe: Recipe, seconds: RunSeconds, budget: float) -> tuple[int, float]:
    """Subnets to measure, and the seconds that it takes."""
    asked = recipe.collect.subnets
    subnets = max(_MIN_SUBNETS, min(asked, int(asked * _COLLECTED * budget / max(seconds.accuracies, 1e-9))))
    return subnets, seconds.accuracies * subnets / asked


def batch_size_of(images: int) -> int:
    """A power of two with which an epoch of so many images has some tens of steps."""
    size = _LARGEST_BATCH
    while size > _SMALLEST_BATCH and images < size * _STEPS:
        size //= 2
    return size


def _reachable(recipe: Recipe, images: ImageFacts, target: ChosenTarget) -> dict[str, float]:
    """The target's limits, raised where even the smallest network would hardly be inside them.

    A network's share of the largest one's time is more than that of its MACs: small layers are less efficient. The
    square root is a guess on the safe side.
    """
    space = recipe.space
    table = CostTable.macs(space, num_classes=len(images.classes), in_chans=recipe.data.channels or 3)
    smallest, largest = (float(table.predict(space.encode(end)[None])[0]) for end in (space.smallest, space.largest))
    least = 1.3 * (smallest / largest) ** 0.5
    return {key: min(0.95, max(share, round(least + 0.025, 2))) for key, share in target.way.limits.items()}


def recipe_values(images: ImageFacts, targets: Sequence[ChosenTarget], plan: Plan) -> dict[str, Any]:
    """The recipe as YAML gives it."""
    candidate = plan.candidate
    init = {"init": str(candidate.init)} if candidate.init else {}
    return {
        "name": "recipe",
        "space": candidate.space,
        "data": {images.kind: str(images.folder), "channels": channels_of(images, candidate)},
        "train": init | {"total_epochs": plan.epochs, "batch_size": plan.batch_size},
        "collect": {"subnets": plan.subnets},
        "targets": {
            target.name: {
                "runtime": target.way.runtime,
                "precision": target.way.precision,
                "limits": {key: f"{share:g}x" for key, share in plan.limits[target.name].items()},
            }
            for target in targets
        },
    }


def channels_of(images: ImageFacts, candidate: Candidate) -> int:
    """1 for grey images, unless the weights to start from are of colour."""
    return candidate.channels or (1 if images.grey else 3)
