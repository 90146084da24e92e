"""The stage ``measure``: cost tables for each device that targets name."""

from __future__ import annotations

from ofa.pipeline.job import Job, Outcome
from ofa.predictors.costs.cost_table import CostTable
from ofa.report.pace import drift_words
from ofa.targets import deployment
from ofa.targets.cost_files import table_paths
from ofa.targets.deployment import Deployment, deployment_of
from ofa.targets.own_costs import how_good


def run(job: Job) -> Outcome:
    tables: dict[Deployment, dict[str, CostTable]] = {}
    files, lines = [], []
    for name, target in job.recipe.targets.items():
        device = deployment_of(target)
        if device not in tables:
            tables[device] = deployment.measured(device, job)
            lines += [_line(device, table) for table in tables[device].values()]
        paths = table_paths(job.folder, name, tables[device])
        for path in (job.folder / "costs").glob(f"{name}.*.json"):
            if path not in paths:  # of another device that this target was once
                path.unlink()
        for table, path in zip(tables[device].values(), paths, strict=True):
            table.save(path)
        files += paths
    deployment.delete_rounds(job)
    return files, "; ".join(lines)


def _line(device: Deployment, table: CostTable) -> str:
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
