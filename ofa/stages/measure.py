"""The stage ``measure``: cost tables for each device that targets name."""

from __future__ import annotations

from ofa.pipeline.artefacts.cost_info import TableQuality
from ofa.pipeline.context import Outcome
from ofa.pipeline.job import Job
from ofa.predictors.costs.table import Table
from ofa.report.pace import drift_words
from ofa.targets.cost_files import table_paths
from ofa.targets.deployment import Deployment, deployment_of
from ofa.targets.measuring import delete_rounds, measure_tables
from ofa.targets.own_costs import how_good


def run(job: Job) -> Outcome:
    tables: dict[Deployment, dict[str, Table]] = {}
    files, lines, costs = [], [], job.folder / "costs"
    for name, target in job.recipe.targets.items():
        deployment = deployment_of(target)
        if deployment not in tables:
            tables[deployment] = measure_tables(
                deployment,
                job.recipe.space,
                job.model_kwargs,
                config=job.recipe.measure,
                seed=job.recipe.seed,
                folder=costs,
            )
            lines += [_line(deployment, table) for table in tables[deployment].values()]
        paths = table_paths(job.folder, name, tables[deployment])
        for path in costs.glob(f"{name}.*.json"):
            if path not in paths:  # of another device that this target was once
                path.unlink()
        for table, path in zip(tables[deployment].values(), paths, strict=True):
            table.save(path)
        files += paths
    delete_rounds(costs)
    return Outcome(files, "; ".join(lines))


def _line(deployment: Deployment, table: Table) -> str:
    """How well the table predicted whole subnets that it was not fitted to."""
    if table.name == "latency" and deployment.costs:
        return f"latency of {deployment.name}: {how_good(table.info['quality'])}"
    quality = TableQuality.model_validate(table.info["quality"])
    error = "no subnet left to check on" if quality.mape is None else f"error {quality.mape:.1%}"
    tau = "" if quality.kendall_tau is None else f", Kendall tau {quality.kendall_tau:.2f}"
    repeat = ""
    if quality.repeat_mape is not None:
        rank = "" if quality.repeat_kendall_tau is None else f", {quality.repeat_kendall_tau:.2f}"
        repeat = f" (a repeated measurement: {quality.repeat_mape:.1%}{rank})"
    drift = drift_words(table.info.get("pace_drift"))
    known = ""
    if "known" in table.info:
        known = f", from {', '.join(table.info['known'])} and {table.info['quality']['fit_subnets']} timed subnets,"
    checked = f"{quality.test_subnets} unseen subnets: {error}{tau}{repeat}{drift}"
    return f"{table.name} on {deployment.name}{known} of {checked}"
