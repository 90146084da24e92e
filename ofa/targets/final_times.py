"""The final timing of a run's models, beside the reference network of their cost table.

A table is measured once, the models perhaps days later, when the machine may be busier or less busy. The reference
network shows by how much its pace has changed. Search compares times at the table's pace. So does the report, which
also gives the time by the clock and the change of the pace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa.export.runtimes.timing import interleaved, lower_quartile
from ofa.predictors.costs.latency.table import reference_model
from ofa.supernet.files import read_json
from ofa.supernet.space import SearchSpace
from ofa.targets.deployment import Deployment
from ofa.targets.measuring import measure_remote_latency

_ROUNDS = 100


@dataclass(frozen=True)
class Ready:
    """A target's model, loaded: ``shape`` is that of its input (channels, height, width)."""

    deployment: Deployment
    path: Path
    session: Any
    shape: tuple[int, int, int]


def final_times(
    models: dict[str, Ready], space: SearchSpace, model_kwargs: Mapping[str, int], *, threads: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Per target ``latency`` in ms at its table's pace, ``latency_clock`` as timed, and ``pace``: how many times slower
    than for the table the machine was. Without a reference network in the table the first alone, as timed.

    ``folder`` has the cost tables; ``model_kwargs``: ``num_classes`` and ``in_chans``.
    """
    calls: dict[Any, Callable[[], object]] = {}
    results = {}
    # The reference network of each target's cost table, with its time then; a table may have none.
    references = {name: read_json(folder / f"{name}.json")["info"].get("reference") for name in models}
    for name, model in models.items():
        deployment, reference = model.deployment, references[name]
        beside = None
        if reference:
            beside = reference_model(space, reference, **model_kwargs, part=deployment.convert)
        if deployment.remote:
            # Another device times the model and its reference in a session of their own.
            clock, *reference_times = measure_remote_latency(
                deployment,
                [(model.path, model.shape), *([beside] if beside else [])],
                threads=threads,
                rounds=_ROUNDS,
            )
            results[name] = _at_table_pace(clock, reference_times[0] if beside else None, reference)
            continue
        # All others are timed together; targets of one deployment share a reference.
        calls[name] = deployment.module.bind(model.session, (1, *model.shape))
        if beside and (key := _key(deployment, reference)) not in calls:
            session = deployment.module.load(beside[0], threads=threads)
            calls[key] = deployment.module.bind(session, (1, *beside[1]))
    times = lower_quartile(1e3 * interleaved(list(calls.values()), rounds=_ROUNDS, description="time the models"))
    local = dict(zip(calls, times, strict=True))
    for name in models:
        if name in local:
            reference = references[name]
            reference_time = local[_key(models[name].deployment, reference)] if reference else None
            results[name] = _at_table_pace(local[name], reference_time, reference)
    return results


def _at_table_pace(clock: float, reference_time: float | None, reference: dict[str, Any] | None) -> dict[str, float]:
    if reference_time is None or reference is None:
        return {"latency": float(clock)}
    slowdown = float(reference_time / reference["ms"])
    return {"latency": float(clock / slowdown), "latency_clock": float(clock), "pace": slowdown}


def _key(deployment: Deployment, reference: dict[str, Any]) -> tuple[Deployment, str]:
    return deployment, str(reference)
