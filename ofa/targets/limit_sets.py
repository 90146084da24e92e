"""Limits that several targets share: equal numbers on equal cost tables, as a value that any process can be told."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.table import Table


@dataclass(frozen=True)
class LimitSet:
    """The limited cost tables as text, the limit of each, and the targets that have these limits."""

    tables: tuple[str, ...]
    limits: tuple[float, ...]
    targets: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of tables and limits; a name for a folder."""
        return hashlib.sha256(json.dumps([self.tables, self.limits]).encode()).hexdigest()[:12]

    @cached_property
    def by_table(self) -> dict[Table, float]:
        return dict(zip(map(_of_text, self.tables), self.limits, strict=True))


def limit_sets(limits: Mapping[str, Mapping[Table, float]]) -> list[LimitSet]:
    """Of the limits of each target, in the order of the targets."""
    targets: dict[tuple[tuple[str, ...], tuple[float, ...]], list[str]] = {}
    for name, by_table in limits.items():
        targets.setdefault((tuple(map(_to_text, by_table)), tuple(by_table.values())), []).append(name)
    return [LimitSet(tables, values, tuple(names)) for (tables, values), names in targets.items()]


def to_json(sets: Sequence[LimitSet]) -> bytes:
    return json.dumps([(one.tables, one.limits, one.targets) for one in sets]).encode()


def of_json(content: bytes) -> list[LimitSet]:
    return [LimitSet(*map(tuple, row)) for row in json.loads(content)]


def _to_text(table: Table) -> str:
    with TemporaryDirectory() as folder:
        table.save(Path(folder) / "table.json")
        return (Path(folder) / "table.json").read_text(encoding="utf-8")


def _of_text(text: str) -> Table:
    """The table, wherever it was measured."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        (Path(folder) / "table.json").write_text(text, encoding="utf-8")
        return CostTable.load(Path(folder) / "table.json", foreign=True)
