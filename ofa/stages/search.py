"""The stages ``measure`` and ``search``: cost tables for each device, and the best network inside each target's limits.

Predictions propose, measurements choose: the few networks that search likes best are built and measured, so that one
lucky prediction does not decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from ofa.errors import UserError
from ofa.pipeline import subnet_csv
from ofa.pipeline.job import Job, Outcome
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import top1
from ofa.strategies.search import InfeasibleLimit, SearchResult, search
from ofa.supernet.files import read_json, write_json
from ofa.supernet.integers import ceil_div
from ofa.supernet.space import Subnet
from ofa.targets import deployment
from ofa.targets.cost_files import load_tables
from ofa.targets.deployment import Deployment, deployment_of

ATTEMPTS = 4


def run(job: Job) -> Outcome:
    predictor = AccuracyPredictor.load(job.folder / "predictor")
    files = []
    for name, target in tqdm(job.recipe.targets.items(), desc="search", unit="target", disable=None):
        costs = {**deployment.counted(deployment_of(target), job), **load_tables(job, name, target)}
        limits = {costs[limit.cost]: limit.absolute(costs[limit.cost]) for limit in target.limits}
        try:
            found, candidates = _search_and_measure(job, deployment_of(target), predictor, limits, costs)
        except InfeasibleLimit as error:
            raise UserError(f"targets.{name}: {error}") from error
        subnets = [Subnet.from_dict(candidate["subnet"]) for candidate in candidates]
        for candidate, values in zip(candidates, _predicted(job, predictor, costs, subnets), strict=True):
            candidate["predicted"] = values
        chosen = next(candidate for candidate in candidates if candidate["chosen"])
        values = {
            **{key: chosen[key] for key in ("subnet", "id", "predicted", "measured")},
            "limits": {table.name: limit for table, limit in limits.items()},
            "candidates": candidates,
            "evaluated": found.evaluated,
            "history": found.history,
            "front": [{**point, "subnet": point["subnet"].to_dict()} for point in found.front],
        }
        files.append(job.folder / "search" / f"{name}.json")
        write_json(files[-1], values)
    return files, f"{len(files)} targets: " + ", ".join(f"{path.stem} {read_json(path)['id']}" for path in files)


def _search_and_measure(
    job: Job,
    device: Deployment,
    predictor: AccuracyPredictor,
    limits: dict[CostTable, float],
    costs: dict[str, CostTable],
) -> tuple[SearchResult, list[dict[str, Any]]]:
    """A search, and its best few networks with what was measured of them; one is ``chosen``.

    Among the few are the best inside the limits of those that taught the predictor: where it is weak, what was measured
    is worth more. Chosen is the most accurate of those that measure inside the limits. Tables are right on average, and
    a search finds where they are too hopeful: when no network measures inside, it is repeated with as much less room.
    """
    settings = job.recipe.search.model_dump()
    count = settings.pop("candidates")
    found, known, room = None, {}, dict(limits)
    for _ in range(ATTEMPTS):
        try:
            found = search(job.recipe.space, predictor, limits=room, seed=job.recipe.seed, **settings)
        except InfeasibleLimit:
            if found is None:
                raise
            break  # the limits themselves can be met; less room than that cannot
        few = [*found.top[:count], *_best_collected(job, room, count=ceil_div(count, 3))]
        new = [subnet for subnet in dict.fromkeys(few) if subnet not in known]
        job.check_interrupt()
        known |= dict(zip(new, deployment.costs_of(device, job, new, costs) if new else [], strict=True))
        inside = [subnet for subnet in known if _excess(known[subnet], limits) <= 1]
        if inside:
            break
        best = known[min(known, key=lambda subnet: _excess(known[subnet], limits))]
        for table, limit in limits.items():
            if best.get(table.name, 0.0) > limit:
                room[table] *= 0.99 * limit / best[table.name]
    # Nothing measures inside: the one that is nearest, and the report says by how much it is above.
    judged = inside or [min(known, key=lambda subnet: _excess(known[subnet], limits))]
    accuracies = {}
    for subnet in judged:
        job.check_interrupt()
        with job.evaluating(subnet):
            accuracies[subnet] = top1(job.extract_calibrated(subnet), job.images("validation", subnet.resolution))
    chosen = max(judged, key=accuracies.__getitem__)
    return found, [
        {
            "subnet": subnet.to_dict(),
            "id": subnet.id,
            "measured": values | ({"accuracy": accuracies[subnet]} if subnet in accuracies else {}),
            "chosen": subnet == chosen,
        }
        for subnet, values in known.items()
    ]


def _best_collected(job: Job, limits: dict[CostTable, float], *, count: int) -> list[Subnet]:
    """The most accurate networks of ``accuracy.csv`` whose costs are predicted to be inside the limits."""
    codes, scores = subnet_csv.read(job.folder / "accuracy.csv", job.recipe.space)
    inside = np.isfinite(scores) & np.all([table.predict(codes) <= limit for table, limit in limits.items()], axis=0)
    rows = np.flatnonzero(inside)
    return [job.recipe.space.decode(codes[row]) for row in rows[np.argsort(-scores[rows], kind="stable")][:count]]


def _excess(measured: dict[str, float], limits: dict[CostTable, float]) -> float:
    """The largest measured cost as a share of its limit; costs that are not measured count as predicted, inside."""
    return max((measured[table.name] / limit for table, limit in limits.items() if table.name in measured), default=0)


def _predicted(
    job: Job, predictor: AccuracyPredictor, costs: dict[str, CostTable], subnets: list[Subnet]
) -> list[dict[str, float]]:
    codes = np.stack([job.recipe.space.encode(subnet) for subnet in subnets])
    accuracy, deviation = predictor.predict(codes, return_std=True)
    columns = {"accuracy": accuracy, "accuracy_std": deviation}
    columns |= {name: table.predict(codes) for name, table in costs.items()}
    return [{name: float(values[row]) for name, values in columns.items()} for row in range(len(codes))]
