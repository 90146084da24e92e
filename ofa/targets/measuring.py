"""A deployment's costs: cost tables for the search, and measured costs of whole networks.

A runtime that has latency is timed; the others run int8 programs of microcontrollers, which are counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ofa.config.search import MeasureConfig
from ofa.errors import UserError
from ofa.export.microcontroller.patches import Patches
from ofa.export.runtimes.remote import connect as remote
from ofa.export.runtimes.timing import lower_quartile
from ofa.predictors.costs import names
from ofa.predictors.costs.latency import table as latency
from ofa.predictors.costs.latency.timer import ModelTimer
from ofa.predictors.costs.microcontroller import tables as microcontroller
from ofa.predictors.costs.table import Table
from ofa.supernet.space import SearchSpace, Subnet
from ofa.targets.deployment import Deployment, environment, remote_errors
from ofa.targets.known_tables import transferred_table
from ofa.targets.own_costs import own_table

# Whole programs that are counted at most: their figures have no noise, so a few are enough.
_MAX_FIT_PROGRAMS, _MAX_TEST_PROGRAMS = 10, 6


def counted(deployment: Deployment, space: SearchSpace, model_kwargs: Mapping[str, int]) -> dict[str, Table]:
    """The costs that are known without a measurement, by name; ``model_kwargs``: ``num_classes`` and ``in_chans``."""
    return names.counted_costs(space, **model_kwargs, bits=deployment.bits)


def own_costs(
    deployment: Deployment, space: SearchSpace, model_kwargs: Mapping[str, int], *, seed: int
) -> dict[str, Table]:
    """The costs that are read from the user's own file, by name."""
    if deployment.costs is None:
        return {}
    return {"latency": own_table(space, deployment.costs, **model_kwargs, seed=seed)}


def measure_tables(
    deployment: Deployment,
    space: SearchSpace,
    model_kwargs: Mapping[str, int],
    *,
    config: MeasureConfig,
    seed: int,
    folder: Path,
) -> dict[str, Table]:
    """The cost tables that the deployment is measured for, by name; the first is the one that reports show.

    ``folder`` keeps the rounds of a measurement on another device, until ``delete_rounds``.
    """
    own = own_costs(deployment, space, model_kwargs, seed=seed)
    if not deployment.has_latency:
        counts = {
            "fit_subnets": min(_MAX_FIT_PROGRAMS, config.fit_subnets),
            "test_subnets": min(_MAX_TEST_PROGRAMS, config.test_subnets),
        }
        try:
            tables = microcontroller.tables(
                deployment.module, space, **model_kwargs, **counts, memory=deployment.memory, seed=seed
            )
            return own | tables
        except ValueError as error:
            raise UserError(f"{deployment.name}: {error}") from error
    if own:
        return own
    rounds = folder / f"{re.sub(r'[^a-zA-Z0-9.@]+', '-', deployment.name)}.rounds.jsonl"
    timer = _remote_timer(deployment, threads=config.threads, store=rounds)
    if config.known is not None:
        with remote_errors(deployment):
            table = transferred_table(deployment, space, model_kwargs, config=config, seed=seed, timer=timer)
        return {"latency": table}
    # Of another device the environment is asked first: a table must say where it was measured.
    device = environment(deployment, threads=config.threads) if deployment.remote else {}
    with remote_errors(deployment):
        table = latency.measure(
            space,
            **model_kwargs,
            **{name: getattr(config, name) for name in ("threads", "rounds", "fit_subnets", "test_subnets")},
            runtime=deployment.module,
            part=deployment.convert,
            timer=timer,
            seed=seed,
            info={"bits": deployment.bits, **device},
        )
    return {"latency": table}


def delete_rounds(folder: Path) -> None:
    """Removes what ``measure_tables`` keeps of unfinished measurements on other devices."""
    for path in folder.glob("*.rounds.jsonl"):
        path.unlink()


def measure_subnets(
    deployment: Deployment,
    space: SearchSpace,
    subnets: list[Subnet],
    model_kwargs: Mapping[str, int],
    *,
    tables: Mapping[str, Table],
    threads: int,
) -> list[dict[str, float]]:
    """Each whole subnet's measured costs, comparable with the deployment's ``tables``; weights do not matter.

    Empty where they are measured elsewhere, if at all.
    """
    if not deployment.has_latency:
        return microcontroller.costs(deployment.module, space, subnets, **model_kwargs, memory=deployment.memory)
    if not deployment.timed:
        return [{} for _ in subnets]
    with remote_errors(deployment):
        times = latency.time_subnets(
            space,
            subnets,
            **model_kwargs,
            runtime=deployment.module,
            part=deployment.convert,
            timer=_remote_timer(deployment, threads=threads),
            threads=threads,
            reference=tables["latency"].info.get("reference"),
        )
    return [{"latency": float(time)} for time in times]


def program_patches(
    deployment: Deployment, space: SearchSpace, subnet: Subnet, model_kwargs: Mapping[str, int]
) -> Patches | None:
    """The patches of the C program of ``subnet``, as the table of RAM counts them; None for other files."""
    if deployment.spec.format != "c":
        return None
    return microcontroller.patches(deployment.module, space, subnet, **model_kwargs, memory=deployment.memory)


def measure_remote_latency(
    deployment: Deployment,
    models: Sequence[tuple[Path | bytes, tuple[int, int, int]]],
    *,
    threads: int,
    rounds: int,
) -> list[float]:
    """Milliseconds of each model on another device: files or bytes, with their shapes (channels, height, width)."""
    with remote_errors(deployment):
        return lower_quartile(_remote_timer(deployment, threads=threads)(models, rounds=rounds)).tolist()


def _remote_timer(deployment: Deployment, *, threads: int, store: Path | None = None) -> ModelTimer | None:
    """What times on another device; ``store`` keeps its rounds."""
    if deployment.remote is None:
        return None
    return partial(remote.timed, deployment.remote, threads=threads, store=store)
