"""What is timed on another device, and the rounds that were timed so far, kept in a file that grows a line a round."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ofa.supernet.files import write_atomic

Shape = tuple[int, int, int]


class Round(NamedTuple):
    """Its number, nanoseconds of each call, and those of the reference call in it (``None`` without one)."""

    number: int
    ns: list[float]
    reference_ns: float | None


@dataclass(frozen=True)
class Plan:
    """Distinct models, and the calls of a round: the number of a model and whether it runs cold."""

    models: tuple[bytes, ...]
    shapes: tuple[Shape, ...]
    calls: tuple[tuple[int, bool], ...]
    reference: int | None
    seed: int
    threads: int

    @classmethod
    def of(
        cls,
        models: Sequence[tuple[Path | bytes, Shape]],
        *,
        cold: Collection[int],
        reference: int | None,
        seed: int,
        threads: int,
    ) -> Plan:
        """``models``: one a call; those that are the same are sent once. ``cold`` and ``reference`` number calls."""
        numbers: dict[tuple[bytes, Shape], int] = {}
        calls = []
        for index, (model, shape) in enumerate(models):
            content = model if isinstance(model, bytes) else Path(model).read_bytes()
            calls.append((numbers.setdefault((content, tuple(shape)), len(numbers)), index in cold))
        contents, shapes = zip(*numbers, strict=True)
        return cls(contents, shapes, tuple(calls), reference, seed, threads)

    def order(self, number: int) -> list[int]:
        """In which order a round runs the calls: that of ``timing.interleaved``."""
        return np.random.default_rng((self.seed, number)).permutation(len(self.calls)).tolist()

    def names(self) -> list[str]:
        """A file name for each model, by its content."""
        return [f"{hashlib.sha256(model).hexdigest()[:16]}.tflite" for model in self.models]

    def key(self, environment: dict[str, Any]) -> str:
        """A digest of all that a round depends on."""
        models = [hashlib.sha256(model).hexdigest() for model in self.models]
        values = [models, self.shapes, self.calls, self.reference, self.seed, self.threads, environment]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class Rounds:
    """The rounds measured so far for one ``key``, in ``path`` when there is one; a file for another key is replaced.

    A line that was cut off by whatever ended the last measurement is dropped.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.path = path
        self.found: dict[int, Round] = {}
        if path is None:
            return
        lines = _lines(path)
        if next(lines, None) == {"key": key}:
            self.found = {values["round"]: Round(values["round"], values["ns"], values["pace"]) for values in lines}
        write_atomic(path, "".join(_line(values) for values in [{"key": key}, *map(_values, self.found.values())]))

    def add(self, one: Round) -> None:
        self.found[one.number] = one
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(_values(one)))
                file.flush()
                os.fsync(file.fileno())

    def missing(self, rounds: int) -> list[int]:
        return [number for number in range(rounds) if number not in self.found]

    def reference_times(self, rounds: int) -> np.ndarray:
        """Nanoseconds of the reference call in each round ``(rounds,)``; 1 where there is none."""
        times = (self.found[number].reference_ns for number in range(rounds))
        return np.array([1.0 if time is None else time for time in times])

    def milliseconds(self, rounds: int) -> np.ndarray:
        """``(rounds, calls)``, each round divided by how much slower than usual its reference was."""
        kept = [self.found[number] for number in range(rounds)]
        reference = self.reference_times(rounds)
        slowdown = reference / np.median(reference)
        return 1e-6 * np.array([one.ns for one in kept]) / slowdown[:, None]


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    """The whole lines of a file, until one that is damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            return
        yield values


def _values(one: Round) -> dict[str, Any]:
    return {"round": one.number, "ns": one.ns, "pace": one.reference_ns}


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
