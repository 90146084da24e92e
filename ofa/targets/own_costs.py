"""A target's latencies from a file of the user's own: ``targets.X.costs`` instead of a measurement.

A CSV file has whole networks that were measured elsewhere, one a row. A YAML file, or a folder of them, has the
published look-up tables of blocks. ``ofa.predictors.costs.imported`` says what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.errors import UserError
from ofa.pipeline.manifest import digest, file_digest
from ofa.supernet.space import SearchSpace

if TYPE_CHECKING:
    from ofa.predictors.costs.table import Table

_YAML = (".yaml", ".yml")


def own_table(space: SearchSpace, path: Path, *, num_classes: int, in_chans: int, seed: int) -> Table:
    """Latency in ms of every network of the space, from ``path``.

    ``info["quality"]`` is the error on rows that a fit never saw (cross-validation); of look-up tables it is unknown.

    Raises ``UserError`` naming the file, and the line or entry that is wrong.
    """
    from ofa.predictors.costs.imported import (  # which takes a while, and a digest needs not
        published_table,
        table_from_csv,
    )

    files = _files(path)
    try:
        if path.suffix.lower() == ".csv":
            table = table_from_csv(space, path, seed=seed)
        else:
            table = published_table(space, files, num_classes=num_classes, in_chans=in_chans, extrapolate=True)
    except (OSError, ValueError) as error:
        raise UserError(f"costs: {error}") from error
    return replace(table, info={**table.info, "file": path.name})


def identity(path: Path) -> str:
    """A digest of what the files say. Raises ``UserError`` when they are not there."""
    try:
        return digest([[file.name, file_digest(file)] for file in _files(path)])
    except OSError as error:
        raise UserError(f"costs: {path} cannot be read: {error.strerror}") from error


def how_good(quality: Mapping[str, Any]) -> str:
    """The error of a table from a file, in words."""
    if quality["mape"] is None:
        return "look-up tables, without networks to check them on"
    tau = "" if quality["kendall_tau"] is None else f", Kendall tau {quality['kendall_tau']:.2f}"
    return f"error {quality['mape']:.1%}{tau} on held-out rows of {quality['test_subnets']}"


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _YAML and file.is_file())
        if not files:
            raise UserError(f"costs: {path} has no look-up table (.yaml); give its folder, or a .csv file")
        return files
    if not path.is_file():
        raise UserError(f"costs: {path} is not there; give a .csv file, or look-up tables (.yaml, or their folder)")
    if path.suffix.lower() not in (".csv", *_YAML):
        raise UserError(f"costs: {path} is neither a .csv file nor a look-up table (.yaml)")
    return [path]
