"""How many threads a run works with: the user's setting, a share of the cores, or what was measured to be fastest.

Lower floors measure (``ofa.supernet.threads``); here is what there is to choose from, why, and where it is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ofa import environment
from ofa.pipeline import distributed
from ofa.supernet.files import read_json, write_json
from ofa.supernet.threads import Threads, halves


def candidates() -> tuple[int, ...]:
    """Numbers of threads to choose from, the most first; a single one where there is nothing to measure."""
    return _decided()[0]


def explained(threads: Threads) -> str:
    """How many threads a run uses and why, for ``ofa check``."""
    count = "1 thread" if threads.count == 1 else f"{threads.count} threads"
    measured = f" (now: {threads.comparison})" if threads.measured else ""
    notes = [f"{count}: {_decided()[1]}{measured}"]
    if setting := environment.spin_setting():
        notes.append(f"waiting by {setting}")
    if environment.TOO_LATE:
        notes.append("torch was imported before ofa, which could not say how its threads wait: import ofa first")
    return "; ".join(notes)


def _decided() -> tuple[tuple[int, ...], str]:
    most = torch.get_num_threads()
    if distributed.device().type == "cuda":
        return (most,), "the GPU does the work"
    if given := environment.thread_setting():
        return (most,), f"{given} is set"
    if distributed.world_size() > 1:  # ranks must not measure against each other
        here = int(os.environ.get("LOCAL_WORLD_SIZE", distributed.world_size()))
        return (max(1, most // here),), f"{most} threads shared by {here} processes"
    if most == 1:
        return (1,), "torch has no more"
    return halves(most), "measured when training begins, and again when steps become slow"


def training_threads(
    state: Mapping[str, Any] | None = None, *, told: Callable[[str], None] = tqdm.write, compiled: bool = False
) -> Threads:
    """For training steps; ``state`` is that of a checkpoint. Compiled code is of one number of threads."""
    counts = candidates()
    return Threads(counts[:1] if compiled else counts, state=state, told=told)


class EvaluationThreads:
    """Threads for measuring accuracies of many networks, one after another.

    With ``kept``, a file, a stage that goes on works with the number that it began with, and gives the same accuracies:
    ``resume`` says that it goes on.
    """

    def __init__(self, kept: Path | None = None, *, resume: bool = False) -> None:
        self._path = kept if distributed.rank() == 0 else None
        self._written = _stored(self._path) if self._path and resume else None
        self.threads = Threads(candidates(), state=self._written, window=2, told=tqdm.write)

    def ready(self, trial: Callable[[], object]) -> None:
        """Before a network is evaluated: measures with ``trial`` when that is due."""
        if self.threads.due():
            self.threads.measure(trial)
            self._write()

    @contextmanager
    def timed(self, work: float) -> Iterator[None]:
        """Around the evaluation of a network; ``work`` grows with the time that it takes."""
        started = time.perf_counter()
        yield
        self.threads.took(time.perf_counter() - started, float(work))
        if self.threads.chooses and (self._written or {}).get("pace") is None:
            self._write()

    def _write(self) -> None:
        self._written = self.threads.state
        if self._path:
            write_json(self._path, {"evaluation": self._written})


def _stored(path: Path) -> dict[str, Any] | None:
    """The state last written; ``None`` when there is none or it is damaged: then it is measured again."""
    try:
        state = read_json(path)["evaluation"]
        return {"threads": int(state["threads"]), "pace": None if state["pace"] is None else float(state["pace"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
