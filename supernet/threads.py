"""How many threads torch works with: measured on the work itself, and again when that has become slower for long.

Two threads halve a step's time where each has a core of its own. Where other processes want the cores they wait for
each other, and one thread can be ten times as fast. Results differ in the last bits between numbers of threads, so a
number is kept for as long as it is not clearly the wrong one, and what was chosen is part of a checkpoint.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

MARGIN = 1.15  # another number must be so many times as fast: chance does not choose
SLOWER = 1.5  # so many times slower than after the last choice: measured again
_ROUNDS = 5
_HOPELESS = 1.5  # candidates so many times slower than the best are left out after two rounds
_FIRST_HOPELESS, _FIRST_SECONDS = 4.0, 1.0  # and after a first run so many times slower, and longer than this
# Between measurements, in times of what the last one took: where work became slower, and where fewer threads than
# there are were chosen, since other processes end.
_WAIT_SLOWER, _WAIT_FEWER = 10, 100
_MIN_WAIT_FEWER = 60.0  # seconds


class Threads:
    """A number of threads for one kind of work, as training steps.

    Inside ``with threads.used():`` torch works with ``count`` threads. Ask ``due()`` before a piece of work,
    ``measure`` when it says so, and tell ``took`` afterwards. With a single candidate nothing is ever measured.

    Args:
        candidates: numbers to choose from; the first, the most, stays unless another is clearly faster.
        state: what ``state`` was when the work was interrupted: its number is kept, not measured anew.
        window: pieces of work whose median tells the pace.
        told: given a sentence when the number changes.
    """

    def __init__(
        self,
        candidates: Sequence[int],
        *,
        state: Mapping[str, Any] | None = None,
        window: int = 5,
        told: Callable[[str], None] = lambda sentence: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.candidates, self.told, self.measured = tuple(candidates), told, {}
        self._clock, self._recent = clock, deque(maxlen=window)
        state = state or {}
        known = state.get("threads") in self.candidates
        self.count: int = state["threads"] if known else self.candidates[0]
        self._pace: float | None = state.get("pace") if known else None
        self._chosen = known or len(self.candidates) == 1
        self._slow, self._cost, self._since = False, 0.0, clock()

    @property
    def state(self) -> dict[str, Any]:
        """JSON values to go on with."""
        return {"threads": self.count, "pace": self._pace}

    @property
    def chooses(self) -> bool:
        """Whether there is anything to choose: ``took`` need not be told otherwise."""
        return len(self.candidates) > 1

    @contextmanager
    def used(self) -> Iterator[Threads]:
        """Torch's number of threads is ``count`` inside, also when that changes, and what it was afterwards."""
        before = torch.get_num_threads()
        self._set(self.count)
        try:
            yield self
        finally:
            self._set(before)

    def due(self) -> bool:
        """Whether ``measure`` shall be called now: at first, after a lasting slowdown, and now and then with few."""
        if not self.chooses:
            return False
        if not self._chosen:
            return True
        waited = self._clock() - self._since
        if self._slow:
            return waited >= _WAIT_SLOWER * self._cost
        few = self.count < self.candidates[0]
        return few and waited >= max(_WAIT_FEWER * self._cost, _MIN_WAIT_FEWER)

    def measure(self, trial: Callable[[], object]) -> None:
        """Chooses by running ``trial``, a typical piece of work, with each number of threads in turn."""
        started, before, first = self._clock(), self.count, not self._chosen
        self.measured = self._times(trial)
        best = min(self.measured, key=self.measured.__getitem__)
        if self.measured.get(before, float("inf")) > MARGIN * self.measured[best]:
            self.count = best
        self._set(self.count)
        self._chosen, self._slow, self._pace = True, False, None
        self._recent.clear()
        self._since = self._clock()
        self._cost = self._since - started
        if self.count != before:
            self.told(f"{_threads(self.count)} from here on{'' if first else f', not {before}'}: {self.comparison}")

    def measure_training(self, model: nn.Module, learn: Callable[[], object]) -> None:
        """``measure`` by a forward and backward pass, of which nothing is left: no gradient, no statistics, no draw."""
        buffers, draws = [buffer.clone() for buffer in model.buffers()], torch.get_rng_state()
        self.measure(learn)
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        torch.set_rng_state(draws)
        model.zero_grad()

    @property
    def comparison(self) -> str:
        """What was measured: ``1 thread 45 ms, 2 threads 180 ms``."""
        return ", ".join(
            f"{_threads(count)} {_milliseconds(self.measured[count])} ms" for count in sorted(self.measured)
        )

    def took(self, seconds: float, work: float) -> None:
        """A piece of work is done; ``work`` says how much it was, in any unit that grows with its time."""
        if not self.chooses or work <= 0:
            return
        self._recent.append(seconds / work)
        if len(self._recent) < self._recent.maxlen:
            return
        pace = statistics.median(self._recent)
        self._slow = self._pace is not None and pace > SLOWER * self._pace
        self._pace = pace if self._pace is None else min(pace, self._pace)

    def _times(self, trial: Callable[[], object]) -> dict[int, float]:
        """Seconds of each candidate: medians over rounds in which each runs once.

        Few threads come first: beside other processes many can take a hundred times as long. What takes seconds in a
        round before those that count, and is far slower than another, has lost, and no more threads are tried.
        """
        first: dict[int, float] = {}
        for count in reversed(self.candidates):
            first[count] = self._timed(trial, count)
            if self._lost(first[count], first):
                break
        found: dict[int, list[float]] = {count: [] for count in first if not self._lost(first[count], first)}
        lost = {count: seconds for count, seconds in first.items() if count not in found}
        for number in range(_ROUNDS):
            for count, times in found.items():
                if count not in lost:
                    times.append(self._timed(trial, count))
            if number == 1:
                medians = {count: statistics.median(times) for count, times in found.items()}
                limit = _HOPELESS * min(medians.values())
                lost |= {count: seconds for count, seconds in medians.items() if seconds > limit}
        return lost | {count: statistics.median(times) for count, times in found.items() if count not in lost}

    @staticmethod
    def _lost(seconds: float, others: Mapping[int, float]) -> bool:
        """By a first run, which has to prepare much; what is quick to do is not judged by it."""
        return seconds > _FIRST_SECONDS and seconds > _FIRST_HOPELESS * min(others.values())

    def _timed(self, trial: Callable[[], object], count: int) -> float:
        self._set(count)
        started = self._clock()
        trial()
        return self._clock() - started

    @staticmethod
    def _set(count: int) -> None:
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)


def halves(most: int) -> tuple[int, ...]:
    """``(6, 3, 1)``: numbers of threads worth a try."""
    counts = [most]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return tuple(counts)


def fixed() -> Threads:
    """As many threads as torch works with now, never measured."""
    return Threads((torch.get_num_threads(),))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.{0 if seconds >= 0.1 else 1}f}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
