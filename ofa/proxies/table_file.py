"""``proxies.csv``: one scored subnet a row.

Beside the subnet and its values, a row says what they depend on: a digest of the weights, and one of the images and
labels. Rows of other weights or images are not used. ``reasons`` says why a value is ``nan``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ofa.pipeline.subnet_csv import header
from ofa.supernet.files import write_atomic
from ofa.supernet.space import TEXT_FIELDS, SearchSpace, Subnet

_CONDITIONS = ("weights", "images")
_REASONS = "reasons"


@dataclass
class Row:
    """A subnet's code, what its values depend on, the values by proxy, and reasons of those that are NaN."""

    code: np.ndarray
    weights: str
    images: str
    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[bytes, str, str]:
        return self.code.tobytes(), self.weights, self.images


def write_rows(path: Path, space: SearchSpace, rows: Iterable[Row]) -> None:
    """Writes the whole table, atomically."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_subnet_columns(space), *_CONDITIONS, *names, _REASONS])
    for row in rows:
        values = [repr(float(row.values[name])) if name in row.values else "" for name in names]
        reasons = "; ".join(f"{name}: {reason}" for name, reason in row.reasons.items())
        writer.writerow([*_subnet_cells(space.decode(row.code)), row.weights, row.images, *values, reasons])
    write_atomic(path, text.getvalue())


def read_rows(path: Path, space: SearchSpace) -> list[Row]:
    """The rows of a table; none when there is no file. Raises ``ValueError`` naming file, line and remedy."""
    if not path.exists():
        return []
    subnet_columns = _subnet_columns(space)
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ())
        fixed = [*subnet_columns, *_CONDITIONS, _REASONS]
        if missing := [name for name in fixed if name not in columns]:
            raise ValueError(
                f"{path} is no table of proxies of this space: it has no column {missing[0]}; move it away"
            )
        names = [name for name in columns if name not in fixed]
        rows = []
        for cells in reader:
            try:
                rows.append(_row(cells, space, subnet_columns, names))
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}; move the file away") from error
    return rows


def _subnet_columns(space: SearchSpace) -> list[str]:
    return header(space.largest, scores=()).split(",")


def _subnet_cells(subnet: Subnet) -> list[str]:
    values = subnet.to_dict().values()
    return ["-".join(map(str, value)) if isinstance(value, list) else str(value) for value in values]


def _row(cells: Mapping[str, str], space: SearchSpace, subnet_columns: list[str], names: list[str]) -> Row:
    resolution, *fields = subnet_columns
    lists = {
        name: tuple(value if name in TEXT_FIELDS else float(value) for value in cells[name].split("-"))
        for name in fields
    }
    code = space.encode(Subnet(int(cells[resolution]), **lists))
    values = {name: float(cells[name]) for name in names if cells[name]}
    parts = [part.partition(": ") for part in cells[_REASONS].split("; ") if part]
    reasons = {name: reason for name, _, reason in parts}
    return Row(code, cells["weights"], cells["images"], values, reasons)
