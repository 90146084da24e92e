"""Rows of a CSV file, and which of its columns are accuracies, costs and choices."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

# Parts of column names. Of data sets the longer names first: cifar100 has cifar10 in it.
_DATASETS = {"cifar100": "cifar100", "cifar10": "cifar10", "imagenet": "imagenet"}
_ACCURACY = re.compile(r"acc|top-?1(?!\d)")
_COST = re.compile(r"latency|energy|throughput|macs|flops|params|memory|time|power")
_NOT_READ = re.compile(r"top-?5|loss|std|^(index|id|hash|seed)$|unique")
_UNITS = {"latency": "ms", "train_time": "s"}  # where a name says so little


def read_rows(path: Path) -> list[dict[str, str]]:
    """Each row by column. Raises ``ValueError`` naming file and line when one has not all columns."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        rows = []
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(
                        f"it has not the {len(reader.fieldnames or ())} columns of the header; is the file cut short?"
                    )
                rows.append(row)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    if not rows:
        raise ValueError(f"{path} has a header and no rows; is the file cut short?")
    return rows


def numbers(path: Path, rows: Sequence[Mapping[str, str]], column: str) -> np.ndarray:
    """A column as float64 ``(n,)``, NaN where it is empty. Raises ``ValueError`` naming a line that is no number."""
    values = np.empty(len(rows))
    for row, text in enumerate(each[column] for each in rows):
        try:
            values[row] = float(text or "nan")
        except ValueError:
            raise ValueError(f"{path}, line {row + 2}: {column} is {text!r}, which is no number") from None
    return values


def accuracies_of(path: Path, rows: Sequence[Mapping[str, str]], *, dataset: str = "") -> dict[str, np.ndarray]:
    """Accuracies by data set, those of tests first; ``dataset`` is what a column is of that names none.

    ``CIFAR10TestAccuracy200Epochs`` and ``cifar10-test`` are ``cifar10``, and ``cifar10-val`` stays so.
    Raises ``ValueError`` when two columns are of one data set.
    """
    found: dict[str, str] = {}
    for column in rows[0]:
        if name := _dataset_of(column, dataset):
            if name in found:
                raise ValueError(f"{path}: the columns {found[name]} and {column} are both the accuracy on {name}")
            found[name] = column
    order = sorted(found, key=lambda name: name.endswith("-val"))
    return {name: numbers(path, rows, found[name]) for name in order}


def costs_of(path: Path, rows: Sequence[Mapping[str, str]]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Costs by column, and the units of those that have one.

    Lower is better in each: ``throughput_X``, in images a second, becomes ``time_X`` in ms an image.
    Raises ``ValueError`` for a throughput of zero.
    """
    costs, units = {}, {}
    for column in rows[0]:
        low = column.lower()
        if _dataset_of(column, "") or _NOT_READ.search(low) or not _COST.search(low):
            continue
        values = numbers(path, rows, column)
        if "throughput" in low:
            if (values <= 0).any():
                line = int(np.argmax(values <= 0)) + 2
                raise ValueError(f"{path}, line {line}: {column} must be above 0")
            column, values = low.replace("throughput", "time"), 1000 / values
            units[column] = "ms"
        costs[column] = values
        if unit := next((unit for name, unit in _UNITS.items() if low.startswith(name)), ""):
            units[column] = unit
    return costs, units


def choices_of(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The columns that are neither accuracies nor costs, nor names of rows: what networks differ in."""
    return [
        column
        for column in rows[0]
        if not _dataset_of(column, "") and not _NOT_READ.search(column.lower()) and not _COST.search(column.lower())
    ]


def _dataset_of(column: str, default: str) -> str:
    """The data set whose accuracy a column is, with ``-val`` for a validation split; empty for another column."""
    low = column.lower()
    named = next((name for part, name in _DATASETS.items() if part in low), "")
    if _NOT_READ.search(low) or _COST.search(low) or not (named or _ACCURACY.search(low)):
        return ""
    return (named or default or "accuracy") + ("-val" if re.search(r"val", low) else "")
