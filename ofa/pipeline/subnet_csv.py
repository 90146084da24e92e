"""``accuracy.csv``: one measured subnet a row, growing row by row.

Files of before have an accuracy alone. They are read, and an unfinished one goes on as it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ofa.pipeline.run_folder import quarantine
from ofa.predictors.metrics import Scores
from ofa.supernet.files import write_atomic
from ofa.supernet.space import TEXT_FIELDS, SearchSpace, Subnet


def header(subnet: Subnet, *, scores: Sequence[str] = Scores._fields) -> str:
    """The first line: one column a role that the subnet's space has, then what was measured."""
    return ",".join((*subnet.to_dict(), *scores))


def append(path: Path, subnet: Subnet, scores: Scores) -> None:
    """Adds a row and flushes it to disk; the header first when there is no file yet.

    Then its digest is added to the file beside it, which is there while rows are measured: a row whose digest is not
    there, or is another, was cut short by a kill, or damaged.
    """
    if not path.exists():
        write_atomic(path, header(subnet) + "\n")
        write_atomic(_beside(path), "")
    with path.open(encoding="utf-8") as file:
        columns = _scores_of(file.readline().rstrip("\n"), subnet) or Scores._fields
    lists = [values for values in subnet.to_dict().values() if isinstance(values, list)]
    row = [str(subnet.resolution), *("-".join(map(str, values)) for values in lists)]
    row += [f"{getattr(scores, name):.6f}" for name in columns]
    _add(path, ",".join(row))
    _add(_beside(path), _digest(",".join(row)))


def finish(path: Path) -> None:
    """All rows are there: from now on the manifest has the digest of the whole file."""
    _beside(path).unlink(missing_ok=True)


def read(path: Path, space: SearchSpace) -> tuple[np.ndarray, np.ndarray]:
    """Codes ``(n, genes)`` and accuracies ``(n,)``. Raises ``ValueError`` naming file and line."""
    codes, scores = read_scores(path, space)
    return codes, scores.accuracy


def read_scores(path: Path, space: SearchSpace) -> tuple[np.ndarray, Scores]:
    """Codes ``(n, genes)`` and all that was measured, each ``(n,)``; NaN for what the file does not have.

    Raises ``ValueError`` naming file and line.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or not _scores_of(lines[0], space.largest):
        raise ValueError(f"{path}, line 1: the header must be {header(space.largest)}")
    rows = [_parse(line, lines[0], space, f"{path}, line {number}") for number, line in enumerate(lines[1:], start=2)]
    codes = np.array([code for code, _ in rows], np.int8).reshape(len(rows), space.num_genes)
    scores = np.array([scores for _, scores in rows], np.float64).reshape(len(rows), len(Scores._fields))
    return codes, Scores(*scores.T)


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
    first = header(space.largest)
    beside, digests = _beside(path), None
    if beside.exists():
        digests = beside.read_text(encoding="utf-8", errors="replace").splitlines()
    if lines and not _scores_of(lines[0], space.largest):
        lines, problem = [], f"{path}, line 1: the header must be {first}"
    elif lines:
        first = lines[0]
    for number, line in enumerate(lines[1:], start=2):
        try:
            _parse(line, first, space, f"{path}, line {number}")
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
    write_atomic(path, "\n".join([first, *good]) + "\n")
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


def _scores_of(first_line: str, subnet: Subnet) -> tuple[str, ...]:
    """What a file with this header has measured of each subnet; nothing when it is no header of such subnets."""
    known = (Scores._fields, ("accuracy",))
    return next((scores for scores in known if first_line == header(subnet, scores=scores)), ())


def _parse(line: str, first_line: str, space: SearchSpace, where: str) -> tuple[np.ndarray, Scores]:
    names, fields = first_line.split(","), line.split(",")
    measured = _scores_of(first_line, space.largest)
    try:
        if len(fields) != len(names):
            raise ValueError(f"{len(fields)} columns instead of {len(names)}")
        values = dict(zip(names, fields, strict=True))
        numbers = dict.fromkeys(Scores._fields, float("nan")) | {name: float(values.pop(name)) for name in measured}
        # NaN: a network that could not be measured.
        for name, highest in (("accuracy", 1), ("loss", float("inf")), ("smoothed_accuracy", 1)):
            if numbers[name] < 0 or numbers[name] > highest:
                raise ValueError(f"{name} {numbers[name]} is not between 0 and {highest}")
        resolution = int(values.pop("resolution"))
        lists = {
            name: tuple(value if name in TEXT_FIELDS else float(value) for value in field.split("-"))
            for name, field in values.items()
        }
        return space.encode(Subnet(resolution, **lists)), Scores(**numbers)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
