"""Where a run folder keeps a target's cost tables."""

from __future__ import annotations

from pathlib import Path

from ofa.config.target import Target
from ofa.errors import UserError
from ofa.pipeline.job import Job
from ofa.predictors.costs.cost_table import CostTable
from ofa.targets import deployment
from ofa.targets.deployment import deployment_of


def table_paths(folder: Path, target: str, tables: dict[str, CostTable]) -> list[Path]:
    """``costs/TARGET.json`` for the first table, ``costs/TARGET.NAME.json`` for others."""
    names = [target, *(f"{target}.{name}" for name in list(tables)[1:])]
    return [folder / "costs" / f"{name}.json" for name in names]


def load_tables(job: Job, name: str, target: Target) -> dict[str, CostTable]:
    tables = {}
    environment = deployment.environment(deployment_of(target), job)
    folder = job.folder / "costs"
    for path in (folder / f"{name}.json", *sorted(folder.glob(f"{name}.*.json"))):
        try:
            table = CostTable.load(path, environment=environment)
        except ValueError as error:
            raise UserError(f"{error}; delete {path}, and `ofa measure {job.folder}` measures it anew") from error
        tables[table.name] = table
    return tables
