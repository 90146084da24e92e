"""``costs/TARGET.json`` without its numbers: what a cost table holds for, and how well it was found to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ofa.errors import UserError
from ofa.pipeline.artefacts.base import OpenValue
from ofa.supernet.files import read_json


class TableQuality(OpenValue):
    """The error of a table on whole subnets that it was not fitted to; ``repeat_mape``: that of a second measurement.

    ``pairs``: predicted and measured of each.
    """

    mape: float | None = None
    kendall_tau: float | None = None
    repeat_mape: float | None = None
    repeat_kendall_tau: float | None = None
    test_subnets: int = 0
    pairs: tuple[tuple[float, float], ...] = ()


class CostInfo(OpenValue):
    """What is known of the table that reports show of a target.

    Attributes:
        runtime, version, threads, cpu, bits, device: where and how it was measured.
        file, source: the user's own file that it was read from instead.
        pace_drift: how many times slower the machine was at some time of the measurement than at another.
    """

    cost: str = "latency"
    unit: str | None = None
    runtime: str | None = None
    version: str | None = None
    threads: int | None = None
    cpu: str | None = None
    bits: int | None = None
    device: str | None = None
    file: str | None = None
    source: str | None = None
    pace_drift: float | None = None
    quality: TableQuality | None = None

    @classmethod
    def load(cls, folder: Path, target: str) -> CostInfo:
        """Of a run folder. Raises ``UserError`` naming a file that is missing or damaged.

        The numbers are not looked at: ``CostTable.load`` reads the whole table.
        """
        path = Path(folder) / "costs" / f"{target}.json"
        try:
            values: dict[str, Any] = read_json(path)
            return cls.model_validate({**values["info"], "cost": values["name"], "unit": values["unit"]})
        except (OSError, ValueError, LookupError, TypeError, ValidationError) as error:
            raise UserError(f"{path} is missing or damaged; `ofa measure {folder}` makes it anew") from error
