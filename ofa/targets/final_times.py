"""The last timing of a run's models: beside their cost table's reference network, so that a changed pace is seen.

A table is measured once, the models perhaps days later, on a machine that has other work by then or no more. Search
compares times at the table's pace; so does the report, which also tells what the clock said and how the pace differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.export.runtimes.timing import interleaved, lower_quartile
from ofa.predictors.costs.latency.table import reference_model
from ofa.supernet.files import read_json
from ofa.targets.deployment import Deployment, measure_remote_latency, part_of

if TYPE_CHECKING:
    from ofa.pipeline.job import Job

_ROUNDS = 100


@dataclass(frozen=True)
class Ready:
    """A target's model, loaded: ``shape`` is that of its input (channels, height, width)."""

    device: Deployment
    path: Path
    session: Any
    shape: tuple[int, int, int]


def final_times(job: Job, models: dict[str, Ready]) -> dict[str, dict[str, float]]:
    """Per target ``latency`` in ms at its table's pace, ``latency_clock`` as timed, and ``pace``: how many times slower
    than for the table the machine was. Without a reference network in the table the first alone, as timed."""
    calls: dict[Any, Callable[[], object]] = {}
    found = {}
    references = {name: _reference(job, name) for name in models}
    for name, model in models.items():
        reference = references[name]
        given = _reference_model(job, model.device, reference) if reference else None
        if model.device.remote:
            clock, *paced = measure_remote_latency(
                model.device, job, [(model.path, model.shape), *([given] if given else [])], rounds=_ROUNDS
            )
            found[name] = _at_pace(clock, paced[0] if given else None, reference)
            continue
        calls[name] = model.device.module.prepared(model.session, (1, *model.shape))
        if given and (key := _key(model.device, reference)) not in calls:
            session = model.device.module.load(given[0], threads=job.recipe.measure.threads)
            calls[key] = model.device.module.prepared(session, (1, *given[1]))
    times = lower_quartile(1e3 * interleaved(list(calls.values()), rounds=_ROUNDS, description="time the models"))
    local = dict(zip(calls, times, strict=True))
    for name in models:
        if name in local:
            reference = references[name]
            paced = local[_key(models[name].device, reference)] if reference else None
            found[name] = _at_pace(local[name], paced, reference)
    return found


def _at_pace(clock: float, paced: float | None, reference: dict[str, Any] | None) -> dict[str, float]:
    if paced is None or reference is None:
        return {"latency": float(clock)}
    pace = float(paced / reference["ms"])
    return {"latency": float(clock / pace), "latency_clock": float(clock), "pace": pace}


def _reference(job: Job, name: str) -> dict[str, Any] | None:
    """The reference network of the target's cost table, and its time; ``None`` for a table without one."""
    return read_json(job.folder / "costs" / f"{name}.json")["info"].get("reference")


def _reference_model(job: Job, device: Deployment, reference: dict[str, Any]) -> tuple[Any, tuple[int, int, int]]:
    return reference_model(job.recipe.space, reference, **job.model_kwargs, part=part_of(device))


def _key(device: Deployment, reference: dict[str, Any]) -> tuple[Deployment, str]:
    return device, str(reference)
