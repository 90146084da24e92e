"""Where a run folder keeps a target's cost tables."""

from __future__ import annotations

from pathlib import Path

from ofa.config.target import Target
from ofa.errors import UserError
from ofa.predictors.costs.cost_table import CostTable
from ofa.targets.deployment import deployment_of, environment


def table_paths(folder: Path, target: str, tables: dict[str, CostTable]) -> list[Path]:
    """``costs/TARGET.json`` for the first table, ``costs/TARGET.NAME.json`` for others."""
    names = [target, *(f"{target}.{name}" for name in list(tables)[1:])]
    return [folder / "costs" / f"{name}.json" for name in names]


def load_tables(folder: Path, name: str, target: Target, *, threads: int) -> dict[str, CostTable]:
    """The measured tables of the target ``name`` in a run's ``folder``, by cost.

    Raises ``UserError`` for a table that was measured elsewhere than where it is asked for.
    """
    tables = {}
    now = environment(deployment_of(target), threads=threads)
    costs = folder / "costs"
    for path in (costs / f"{name}.json", *sorted(costs.glob(f"{name}.*.json"))):
        try:
            table = CostTable.load(path, environment=now)
        except ValueError as error:
            raise UserError(f"{error}; delete {path}, and `ofa measure {folder}` measures it anew") from error
        tables[table.name] = table
    return tables
