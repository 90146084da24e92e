"""The stages ``measure`` and ``search``: cost tables for each device, and the best network inside each target's limits.

Predictions propose, measurements choose: the few networks that search likes best are built and measured, so that one
lucky prediction does not decide.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ofa import accuracy_file, devices
from ofa.devices import Device, device_of
from ofa.errors import UserError
from ofa.own_costs import how_good
from ofa.predictors.accuracy import AccuracyPredictor
from ofa.predictors.collect import top1
from ofa.predictors.cost import CostTable
from ofa.recipe_target import Target
from ofa.report_pace import drift_words
from ofa.strategies.search import InfeasibleLimit, SearchResult, search
from ofa.supernet.files import read_json, write_json
from ofa.supernet.space import Subnet

if TYPE_CHECKING:
    from ofa.stages import Job, Outcome

ATTEMPTS = 4


def measure(job: Job) -> Outcome:
    tables: dict[Device, dict[str, CostTable]] = {}
    files, lines = [], []
    for name, target in job.recipe.targets.items():
        device = device_of(target)
        if device not in tables:
            tables[device] = devices.measured(device, job)
            lines += [_line(device, table) for table in tables[device].values()]
        paths = _paths(job, name, tables[device])
        for path in (job.folder / "costs").glob(f"{name}.*.json"):
            if path not in paths:  # of another device that this target was once
                path.unlink()
        for table, path in zip(tables[device].values(), paths, strict=True):
            table.save(path)
        files += paths
    devices.forget_rounds(job)
    return files, "; ".join(lines)


def search_targets(job: Job) -> Outcome:
    predictor = AccuracyPredictor.load(job.folder / "predictor")
    files = []
    for name, target in tqdm(job.recipe.targets.items(), desc="search", unit="target", disable=None):
        costs = {**devices.counted(device_of(target), job), **load_tables(job, name, target)}
        limits = {costs[limit.cost]: limit.absolute(costs[limit.cost]) for limit in target.limits}
        try:
            found, candidates = _search_and_measure(job, device_of(target), predictor, limits, costs)
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
    device: Device,
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
        few = [*found.top[:count], *_best_collected(job, room, count=-(-count // 3))]
        new = [subnet for subnet in dict.fromkeys(few) if subnet not in known]
        job.check_interrupt()
        known |= dict(zip(new, devices.costs_of(device, job, new, costs) if new else [], strict=True))
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
            accuracies[subnet] = top1(job.specialised(subnet), job.images("validation", subnet.resolution))
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
    codes, scores = accuracy_file.read(job.folder / "accuracy.csv", job.recipe.space)
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


def _paths(job: Job, target: str, tables: dict[str, CostTable]) -> list[Path]:
    """``costs/TARGET.json`` for the first table, ``costs/TARGET.NAME.json`` for others."""
    names = [target, *(f"{target}.{name}" for name in list(tables)[1:])]
    return [job.folder / "costs" / f"{name}.json" for name in names]


def load_tables(job: Job, name: str, target: Target) -> dict[str, CostTable]:
    tables = {}
    environment = devices.environment(device_of(target), job)
    folder = job.folder / "costs"
    for path in (folder / f"{name}.json", *sorted(folder.glob(f"{name}.*.json"))):
        try:
            table = CostTable.load(path, environment=environment)
        except ValueError as error:
            raise UserError(f"{error}; delete {path}, and `ofa measure {job.folder}` measures it anew") from error
        tables[table.name] = table
    return tables


def _line(device: Device, table: CostTable) -> str:
    found = table.info["quality"]
    if table.name == "latency" and device.costs:
        return f"latency of {device.name}: {how_good(found)}"
    error = "no subnet left to check on" if found["mape"] is None else f"error {found['mape']:.1%}"
    tau = "" if found["kendall_tau"] is None else f", Kendall tau {found['kendall_tau']:.2f}"
    repeat = ""
    if found.get("repeat_mape") is not None:
        rank = "" if found["repeat_kendall_tau"] is None else f", {found['repeat_kendall_tau']:.2f}"
        repeat = f" (a repeated measurement: {found['repeat_mape']:.1%}{rank})"
    drift = drift_words(table.info.get("pace_drift"))
    return f"{table.name} on {device.name} of {found['test_subnets']} unseen subnets: {error}{tau}{repeat}{drift}"
