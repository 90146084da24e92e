"""The best networks inside the limits, and the best of them trained further."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import numpy as np
from torch import nn

from ofa.config.finetuning import finetunings
from ofa.config.schedule import training_phases, training_settings
from ofa.errors import UserError
from ofa.estimator.array_job import TARGET
from ofa.pipeline import subnet_csv
from ofa.pipeline.job import Job
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.targets import TARGETS
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import Scores, scores
from ofa.strategies.search import search
from ofa.supernet.space import Subnet
from ofa.supernet.training.errors import Diverged
from ofa.supernet.training.finetune import finetune
from ofa.targets.deployment import Deployment, deployment_of
from ofa.targets.measuring import counted, measure_subnets, measure_tables


@dataclass(frozen=True)
class FoundSubnet:
    """A network inside the limits.

    Attributes:
        predicted_accuracy, accuracy: on the images held out: told from other networks, and measured.
        predicted_costs, costs: by the cost's name; ``costs`` are those that were measured on the runtime, or none.
    """

    subnet: Subnet
    predicted_accuracy: float
    accuracy: float
    predicted_costs: dict[str, float]
    costs: dict[str, float]


def find_subnets(job: Job, *, runtime: bool) -> list[FoundSubnet]:
    """Inside the limits of the job's one target, the most accurate first, of what the stage ``collect`` left.

    ``runtime``: whether its costs are measured; else only those that are counted are known.

    Raises ``InfeasibleLimit`` when no network meets the limits.
    """
    recipe, space = job.recipe, job.recipe.space
    target = recipe.targets[TARGET]
    deployment, known = deployment_of(target), {"config": recipe.measure, "seed": recipe.seed}
    measured: dict[str, Table] = {}
    if runtime:
        measured = measure_tables(deployment, space, job.model_kwargs, folder=job.folder / "costs", **known)
    tables = {**counted(deployment, space, job.model_kwargs), **measured}
    if unknown := [limit.cost for limit in target.limits if limit.cost not in tables]:
        raise UserError(f"limits: {unknown[0]} must be measured; give the runtime that runs the network, runtime=NAME")
    limits = {tables[limit.cost]: limit.absolute(tables[limit.cost]) for limit in target.limits}

    # Predictions propose ...
    codes, collected = subnet_csv.read_scores(job.folder / "accuracy.csv", space)
    signal = TARGETS[recipe.predictor.target].signal(collected)
    predictor = AccuracyPredictor(space, kind=recipe.predictor.kind, seed=recipe.seed)
    predictor.fit(codes, collected.accuracy, signal=signal)
    options = {"strategy": recipe.search.strategy, "seed": recipe.seed, **recipe.search.settings}
    found = search(space, predictor, limits=limits, **options).top[: recipe.search.candidates]

    # ... and measurements choose: among those that keep the limits on the device, where any does.
    costs = _measured_costs(job, deployment, found, tables) if runtime else [{} for _ in found]
    above = [max((cost.get(t.name, 0.0) / limit for t, limit in limits.items()), default=0.0) for cost in costs]
    inside = [row for row in range(len(found)) if above[row] <= 1]
    if not inside:
        inside = [int(np.argmin(above))]
        warnings.warn(
            f"no network met the limits when it was measured; {max(above[inside[0]], 1):.2f} times", stacklevel=2
        )
    tried = {row: scores(job.extract_calibrated(found[row]), _validation(job, found[row])) for row in inside}
    told = predictor.predict(np.stack([space.encode(subnet) for subnet in found]))
    by_cost = {name: table.predict(np.stack([space.encode(s) for s in found])) for name, table in tables.items()}
    ranked = sorted(inside, key=lambda row: (-tried[row].smoothed_accuracy, row))
    return [
        FoundSubnet(
            subnet=found[row],
            predicted_accuracy=float(told[row]),
            accuracy=float(tried[row].accuracy),
            predicted_costs={name: float(values[row]) for name, values in by_cost.items()},
            costs=costs[row],
        )
        for row in ranked
    ]


def train_further(job: Job, subnet: Subnet) -> nn.Module:
    """The network as a plain timm model in eval mode, fine-tuned where that made it better on the images held out."""
    original = job.extract_calibrated(subnet)
    how, config = finetunings(job.recipe).get(TARGET), job.recipe.train
    if how is None:
        return original
    trained = copy.deepcopy(original)
    teacher = job.extract_calibrated(job.recipe.space.largest) if config.distill_weight > 0 else None
    epochs_before = sum(phase.epochs for phase in training_phases(job.recipe))
    try:
        finetune(
            trained,
            teacher,
            lambda epoch, start: job.train_batches(epochs_before + epoch, start),
            epochs=how.epochs,
            steps_per_epoch=job.data.steps(config.batch_size),
            lr=how.lr,
            resolution=subnet.resolution,
            teacher_resolution=job.recipe.space.largest.resolution,
            normalize=job.data.normalize,
            settings=training_settings(job.recipe),
            progress=False,
        )
    except Diverged:
        return original
    before, after = (
        scores(model, _validation(job, subnet)) for model in (original, job.calibrated(trained, subnet.resolution))
    )
    return trained.eval() if _quality(after) > _quality(before) else original


def _quality(measured: Scores) -> tuple[float, float]:
    return measured.accuracy, -measured.loss


def _validation(job: Job, subnet: Subnet):
    return job.images("validation", subnet.resolution)


def _measured_costs(
    job: Job, deployment: Deployment, subnets: list[Subnet], tables: dict[str, Table]
) -> list[dict[str, float]]:
    threads = job.recipe.measure.threads
    return measure_subnets(deployment, job.recipe.space, subnets, job.model_kwargs, tables=tables, threads=threads)
