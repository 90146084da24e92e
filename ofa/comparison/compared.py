"""What is compared: each target of each run, with its networks as they were predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa.comparison.measures import Point
from ofa.config.recipe_file import load_run_recipe
from ofa.errors import UserError
from ofa.pipeline.artefacts.report import Report, TargetReport
from ofa.pipeline.artefacts.search import Figures
from ofa.pipeline.manifest import RunManifest
from ofa.pipeline.run_folder import check_folder
from ofa.stages import STAGES


@dataclass(frozen=True)
class ComparedRun:
    """A finished run.

    Attributes:
        name: its folder's, or as much of the path as tells it from the others.
        strategy: how it searched.
        data: what says which images it had (``ofa.data.identity``); ``space`` likewise.
        seconds: of each stage.
    """

    name: str
    report: Report
    strategy: str
    data: Any
    space: Any
    seconds: dict[str, float]


@dataclass(frozen=True)
class ComparedTarget:
    """A target of a run, by the first of the costs that are limited.

    Attributes:
        predicted: the networks of the search's front.
        measured: the candidates whose accuracy was measured, and the model file; of costs that are counted, counted.
    """

    run: ComparedRun
    name: str
    target: TargetReport

    @property
    def cost(self) -> str:
        return next(iter(self.target.limits))

    @property
    def predicted(self) -> list[Point]:
        points = [Point(one.costs[self.cost], one.accuracy) for one in self.target.front if self.cost in one.costs]
        best = self.target.predicted
        return [*points, Point(best.costs[self.cost], best.accuracy)] if self.cost in best.costs else points

    @property
    def measured(self) -> list[Point]:
        return [Point(costs[self.cost], accuracy) for costs, accuracy in self.networks() if self.cost in costs]

    def networks(self) -> list[tuple[dict[str, float], float]]:
        """Costs and measured validation accuracy of each network; the chosen one's, of its model file, are the last."""
        known = [
            (_costs(one.predicted, one.measured), one.measured.accuracy)
            for one in self.target.candidates
            if one.measured.accuracy is not None
        ]
        chosen = _costs(self.target.predicted, self.target.measured), self.target.measured.validation_accuracy
        return [*known, chosen]


def _costs(predicted: Figures, measured: Figures) -> dict[str, float]:
    """As they were measured; of those that were not, which are counted exactly or unknown, as they were predicted."""
    return {**predicted.costs, **measured.costs}


def regret(target: ComparedTarget, all_targets: Sequence[ComparedTarget]) -> float:
    """By how much the best network found anywhere inside the target's limits is more accurate than the chosen one."""
    limits, own = target.target.limits, target.networks()[-1][1]
    inside = [
        accuracy
        for other in all_targets
        if other.run.data == target.run.data
        for costs, accuracy in other.networks()
        if all(costs.get(cost, float("inf")) <= limit for cost, limit in limits.items())
    ]
    return max([own, *inside]) - own


def open_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """The runs in these folders. Raises ``UserError`` for a folder that is no run, unfinished, or given twice."""
    places = [Path(folder).resolve() for folder in folders]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{folders[number]} is given twice; name each run once")
    return [_open(folder, name) for folder, name in zip(folders, _names(places), strict=True)]


def _open(folder: Path, name: str) -> ComparedRun:
    check_folder(folder)
    if not (folder / "recipe.yaml").is_file():
        raise UserError(f"{folder}: not a run folder (it has no recipe.yaml); `ofa run RECIPE` makes one below runs/")
    if not Report.path(folder).exists():
        raise UserError(f"{folder}: this run has no report yet; `ofa run {folder}` goes on with it")
    recipe, report, manifest = load_run_recipe(folder), Report.load(folder), RunManifest(folder)
    inputs = manifest.inputs("evaluate")
    data = inputs.get("data") if isinstance(inputs, dict) else None
    return ComparedRun(
        name=name,
        report=report,
        strategy=recipe.search.strategy,
        data=data or report.data.to_dict(),
        space=report.space,
        seconds={stage: manifest.seconds(stage) for stage in STAGES},
    )


def _names(places: Sequence[Path]) -> list[str]:
    """The last folders of each path: as many as it takes until no two are the same."""
    most = max(len(place.parts) for place in places)
    for count in range(1, most + 1):
        names = ["/".join(place.parts[-count:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names
