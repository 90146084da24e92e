"""One search on a bench, and the file of those that are done: a line of JSON each, so that a stopped one goes on."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ofa.benchmarking.bench import Bench
from ofa.errors import UserError
from ofa.strategies.search import search
from ofa.strategies.settings import SearchSettings
from ofa.strategies.table import STRATEGIES
from ofa.supernet.files import write_atomic


@dataclass(frozen=True)
class Run:
    """What one search found.

    Attributes:
        asked: accuracies that it asked for, at most as many as it was allowed.
        best: ``(queries, accuracy)`` each time that a better network was found.
    """

    strategy: str
    seed: int
    seconds: float
    asked: int
    best: tuple[tuple[int, float], ...]


class _Spent(Exception):
    """All queries are used up."""


class _Asked:
    """A predictor that answers so many queries, and remembers the answers in the order of asking."""

    def __init__(self, bench: Bench, queries: int) -> None:
        self._bench, self._queries, self.answers = bench, queries, np.empty(0)

    def predict(self, codes: np.ndarray) -> np.ndarray:
        left = self._queries - len(self.answers)
        found = np.asarray(self._bench.score(codes[:left]), float)
        self.answers = np.concatenate([self.answers, found])
        if len(self.answers) == self._queries:
            raise _Spent
        return found


def run_once(bench: Bench, strategy: str, seed: int, *, queries: int, population: int) -> Run:
    """One search by ``strategy`` with its default settings and generations of ``population``, up to ``queries``.

    Raises ``UserError`` when the strategy cannot serve this space, or trades accuracy for a cost and there is none.
    """
    if STRATEGIES[strategy].multi_objective and bench.cost is None:
        raise UserError(f"{strategy} trades accuracy for a cost, and this table has none of every network")
    asked, started = _Asked(bench, queries), time.perf_counter()
    with suppress(_Spent):
        search(
            bench.space,
            asked,
            limits=bench.limits,
            objectives=[bench.cost] if STRATEGIES[strategy].multi_objective else [],
            strategy=strategy,
            seed=seed,
            population=min(population, queries),
            generations=_generations(STRATEGIES[strategy].settings, queries, population),
        )
    seconds = time.perf_counter() - started
    better = np.flatnonzero(asked.answers > np.maximum.accumulate(np.r_[-np.inf, asked.answers])[:-1])
    best = tuple((int(place) + 1, float(asked.answers[place])) for place in better)
    return Run(strategy, seed, round(seconds, 3), len(asked.answers), best)


def _generations(settings: type[SearchSettings], queries: int, population: int) -> int:
    """After the first; of strategies that keep their parents, a generation asks for the others alone."""
    kept = next((field.default for field in dataclasses.fields(settings) if field.name == "parents"), 0)
    return math.ceil(max(queries - population, 0) / (population - round(kept * population)))


def read_runs(path: Path, header: Mapping[str, Any]) -> list[Run]:
    """The finished runs of a file whose first line is ``header``; a last line that was cut short is taken away.

    Raises ``UserError`` naming the file and what differs, when it has runs of something else.
    """
    if not path.is_file():
        write_atomic(path, json.dumps(header) + "\n")
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        write_atomic(path, "".join(lines := lines[:-1]))
    try:
        found, *rows = (json.loads(line) for line in lines)
        runs = [
            Run(**{**row, "best": tuple((int(query), float(value)) for query, value in row["best"])}) for row in rows
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it, or give another --out") from error
    if found != dict(header):
        other = next((key for key in {**header, **found} if found.get(key) != header.get(key)), "")
        raise UserError(
            f"{path} has runs with {other} {found.get(other)!r}, not {header.get(other)!r}; give another --out"
        )
    # Two commands at once may have made the same run.
    return list({(run.strategy, run.seed): run for run in runs}.values())


def append_run(path: Path, run: Run) -> None:
    """Writes one finished run to disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(run)) + "\n")
        file.flush()
        os.fsync(file.fileno())
