"""``accuracy.csv``: one measured subnet a row, growing row by row."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from ofa.pipeline.run_folder import quarantine
from ofa.supernet.files import write_atomic
from ofa.supernet.space import TEXT_FIELDS, SearchSpace, Subnet


def header(subnet: Subnet) -> str:
    """The first line: one column a role that the subnet's space has, then the accuracy."""
    return ",".join((*subnet.to_dict(), "accuracy"))


def append(path: Path, subnet: Subnet, accuracy: float) -> None:
    """Adds a row and flushes it to disk; the header first when there is no file yet.

    Then its digest is added to the file beside it, which is there while rows are measured: a row whose digest is not
    there, or is another, was cut short by a kill, or damaged.
    """
    if not path.exists():
        write_atomic(path, header(subnet) + "\n")
        write_atomic(_beside(path), "")
    lists = [values for values in subnet.to_dict().values() if isinstance(values, list)]
    row = [str(subnet.resolution), *("-".join(map(str, values)) for values in lists), f"{accuracy:.6f}"]
    _add(path, ",".join(row))
    _add(_beside(path), _digest(",".join(row)))


def finish(path: Path) -> None:
    """All rows are there: from now on the manifest has the digest of the whole file."""
    _beside(path).unlink(missing_ok=True)


def read(path: Path, space: SearchSpace) -> tuple[np.ndarray, np.ndarray]:
    """Codes ``(n, genes)`` and accuracies ``(n,)``. Raises ``ValueError`` naming file and line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    expected = header(space.largest)
    if not lines or lines[0] != expected:
        raise ValueError(f"{path}, line 1: the header must be {expected}")
    rows = [_parse(line, space, f"{path}, line {number}") for number, line in enumerate(lines[1:], start=2)]
    codes = np.array([code for code, _ in rows], np.int8).reshape(len(rows), space.num_genes)
    return codes, np.array([accuracy for _, accuracy in rows], np.float64)


def recover(path: Path, space: SearchSpace) -> tuple[int, str | None]:
    """Makes an unfinished file readable; returns how many rows it has, and what was wrong with it if anything was.

    A last line without its end or its digest is what a killed process leaves: it is dropped. Any other bad line makes
    the file damaged: it is moved aside, and a new one holds the rows before that line. Rows are measured in a fixed
    order, so those behind it are measured again in their places.
    """
    if not path.exists():
        return 0, None
    text = path.read_text(encoding="utf-8", errors="replace")
    whole, _, _ = text.rpartition("\n")
    lines, good, problem = whole.splitlines(), [], None
    expected = header(space.largest)
    beside, digests = _beside(path), None
    if beside.exists():
        digests = beside.read_text(encoding="utf-8", errors="replace").splitlines()
    if lines and lines[0] != expected:
        lines, problem = [], f"{path}, line 1: the header must be {expected}"
    for number, line in enumerate(lines[1:], start=2):
        try:
            _parse(line, space, f"{path}, line {number}")
            if digests is not None:
                if number == len(lines) == len(digests) + 2:
                    break  # killed before the digest was written
                if digests[number - 2 : number - 1] != [_digest(line)]:
                    raise ValueError(f"{path}, line {number}: is not what was written")
        except ValueError as error:
            problem = str(error)
            break
        good.append(line)
    if problem:
        problem += f"; moved to {quarantine(path, 'damaged').name}, {len(good)} rows before it kept"
    write_atomic(beside, "".join(f"{_digest(line)}\n" for line in good))
    write_atomic(path, "\n".join([expected, *good]) + "\n")
    return len(good), problem


def _beside(path: Path) -> Path:
    return path.with_suffix(".digests")


def _digest(row: str) -> str:
    return hashlib.sha256(row.encode()).hexdigest()[:16]


def _add(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def _parse(line: str, space: SearchSpace, where: str) -> tuple[np.ndarray, float]:
    names, fields = header(space.largest).split(","), line.split(",")
    try:
        if len(fields) != len(names):
            raise ValueError(f"{len(fields)} columns instead of {len(names)}")
        lists = {
            name: tuple(value if name in TEXT_FIELDS else float(value) for value in field.split("-"))
            for name, field in zip(names[1:-1], fields[1:-1], strict=True)
        }
        accuracy = float(fields[-1])
        if accuracy < 0 or accuracy > 1:  # NaN: a network that could not be measured
            raise ValueError(f"accuracy {accuracy} is not between 0 and 1")
        return space.encode(Subnet(int(fields[0]), **lists)), accuracy
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
