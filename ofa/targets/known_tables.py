"""`measure.known: FILE`: a target's latencies from a known device's table and a few whole networks timed on its own."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ofa.config.search import MeasureConfig
from ofa.errors import UserError
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.latency import table as latency
from ofa.predictors.costs.latency.timer import ModelTimer
from ofa.predictors.costs.table import Table
from ofa.predictors.costs.transfer import networks_to_time, transfer_latency
from ofa.predictors.metrics import cost_quality
from ofa.supernet.space import SearchSpace
from ofa.targets.deployment import Deployment, environment


def known_table(path: Path, space: SearchSpace) -> CostTable:
    """The table of another device. Raises ``UserError`` for another file, another space, or another cost."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it was measured elsewhere
            table = CostTable.load(path, foreign=True)
    except OSError as error:
        raise UserError(f"measure.known: {path} cannot be read: {error.strerror}; give another file") from error
    except ValueError as error:
        raise UserError(f"measure.known: {error}; give a latency table, such as costs/TARGET.json of a run") from error
    if table.name != "latency" or table.combine != "sum":
        raise UserError(f"measure.known: {path} is a table of {table.name}; give one of latency")
    if table.space.to_dict() != space.to_dict():
        raise UserError(f"measure.known: {path} is of another search space; give a table of this recipe's space")
    return table


def transferred_table(
    deployment: Deployment,
    space: SearchSpace,
    model_kwargs: Mapping[str, int],
    *,
    config: MeasureConfig,
    seed: int,
    timer: ModelTimer | None,
) -> Table:
    """The deployment's table by ``transfer_latency``: ``config.samples`` networks are timed for it, and the recipe's
    ``test_subnets`` to judge it on.

    Raises ``UserError`` where the known table does not fit, or the space has too few networks.
    """
    known = known_table(config.known, space)
    device = environment(deployment, threads=config.threads)  # first: a table must say where it was measured
    try:
        codes = networks_to_time(known, config.samples + config.test_subnets, seed=seed)
    except ValueError as error:
        raise UserError(f"measure.known: {error}; or lower measure.samples or measure.test_subnets") from error
    times = latency.time_subnets(
        space,
        [space.decode(code) for code in codes],
        **model_kwargs,
        runtime=deployment.module,
        part=deployment.convert,
        timer=timer,
        threads=config.threads,
        rounds=config.rounds,
    )
    # The farthest networks come first: what the rest says of the error is not of the space's ends.
    fit, test = slice(0, config.samples), slice(config.samples, None)
    table = transfer_latency(known, codes[fit], times[fit])
    info = {
        **device,
        "bits": deployment.bits,
        "date": datetime.date.today().isoformat(),
        "rounds": config.rounds,
        **table.info,
        "known": [config.known.name],
        "reference": {"subnet": space.decode(codes[0]).to_dict(), "ms": float(times[0])},
        "quality": cost_quality(table.predict(codes[test]), np.asarray(times[test]), fit_subnets=config.samples),
    }
    return replace(table, info=info)
