"""Chooses torch's number of threads: measured on the work itself, and again when the work becomes slower for long.

Two threads halve a step's time when each has a core of its own. When other processes use the cores, threads
wait for each other, and one thread can be ten times as fast. Results depend on the number of threads in
their last bits, so a number is kept unless another is clearly faster, and the number is part of a
checkpoint.
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

MARGIN = 1.15  # another number must be so many times as fast, so that chance does not decide
SLOWER = 1.5  # measured again when the work is so many times slower than after the last choice
_ROUNDS = 5
_HOPELESS = 1.5  # candidates so many times slower than the best are dropped after two rounds
_FIRST_HOPELESS, _FIRST_SECONDS = 4.0, 1.0  # or after a first run that is so many times slower, and at least so long
# The time between measurements, as a multiple of the duration of the last one: when the work has become
# slower, and when fewer threads than possible are used, because other processes may have ended.
_WAIT_SLOWER, _WAIT_FEWER = 10, 100
_MIN_WAIT_FEWER = 60.0  # seconds


class Threads:
    """The number of threads for one kind of work, such as training steps.

    Inside ``with threads.used():`` torch uses ``count`` threads. Before each piece of work, call
    ``measure`` if ``due()`` is true; after it, call ``took``. With a single candidate nothing is measured.

    Args:
        candidates: numbers to choose from, the largest first. That one is used unless another is clearly
            faster.
        state: the ``state`` of interrupted work, whose number is used again without a measurement.
        window: the number of recent pieces of work whose median is compared.
        told: called with a sentence when the number changes.
        clock: the time in seconds.
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

        # The best seconds per amount of work since the last choice.
        state = state or {}
        known = state.get("threads") in self.candidates
        self.count: int = state["threads"] if known else self.candidates[0]
        self._pace: float | None = state.get("pace") if known else None

        # Whether the work has become slower since; the seconds that the last measurement took, and its end.
        self._chosen = known or len(self.candidates) == 1
        self._slow, self._cost, self._since = False, 0.0, clock()

    @property
    def state(self) -> dict[str, Any]:
        """JSON values with which interrupted work is resumed."""
        return {"threads": self.count, "pace": self._pace}

    @property
    def chooses(self) -> bool:
        """Whether there are several candidates. If not, ``took`` need not be called."""
        return len(self.candidates) > 1

    @contextmanager
    def used(self) -> Iterator[Threads]:
        """Inside, torch uses ``count`` threads, also after it changes. Afterwards the old number is restored."""
        before = torch.get_num_threads()
        self._set(self.count)
        try:
            yield self
        finally:
            self._set(before)

    def due(self) -> bool:
        """Whether to call ``measure`` now: at first, after a lasting slowdown, and at times when fewer are used."""
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
        """Chooses a number by running ``trial``, a typical piece of work, with each number of threads in turn."""
        started, before, first = self._clock(), self.count, not self._chosen
        self.measured = self._times(trial)
        best = min(self.measured, key=self.measured.__getitem__)
        if self.measured.get(before, float("inf")) > MARGIN * self.measured[best]:
            self.count = best
        self._set(self.count)

        # Comparisons start anew.
        self._chosen, self._slow, self._pace = True, False, None
        self._recent.clear()
        self._since = self._clock()
        self._cost = self._since - started
        if self.count != before:
            self.told(f"{_threads(self.count)} from here on{'' if first else f', not {before}'}: {self.comparison}")

    def measure_training(self, model: nn.Module, trial: Callable[[], object]) -> None:
        """``measure`` by a forward and backward pass; gradients, statistics and the random state are restored."""
        buffers, random_state = [buffer.clone() for buffer in model.buffers()], torch.get_rng_state()
        self.measure(trial)
        for buffer, saved in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(saved)
        torch.set_rng_state(random_state)
        model.zero_grad()

    @property
    def comparison(self) -> str:
        """The last measurement as text: ``1 thread 45.0 ms, 2 threads 180 ms``."""
        return ", ".join(
            f"{_threads(count)} {1e3 * seconds:.{0 if seconds >= 0.1 else 1}f} ms"
            for count, seconds in sorted(self.measured.items())
        )

    def took(self, seconds: float, work: float) -> None:
        """Records that a piece of work is done; ``work`` is its amount, in any unit that grows with its time."""
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

        Candidates that are far slower than another are dropped early, and keep the time of their last run.
        """
        # A first round, which is not counted, with few threads first: on a busy machine many threads can
        # take a hundred times as long. When one is far too slow, more threads are not tried.
        first: dict[int, float] = {}
        for count in reversed(self.candidates):
            first[count] = self._timed(trial, count)
            if self._is_hopeless(first[count], first):
                break
        times_of: dict[int, list[float]] = {
            count: [] for count, seconds in first.items() if not self._is_hopeless(seconds, first)
        }
        dropped = {count: seconds for count, seconds in first.items() if count not in times_of}

        for round_index in range(_ROUNDS):
            for count, times in times_of.items():
                if count not in dropped:
                    times.append(self._timed(trial, count))
            if round_index == 1:
                medians = {count: statistics.median(times) for count, times in times_of.items()}
                limit = _HOPELESS * min(medians.values())
                dropped |= {count: seconds for count, seconds in medians.items() if seconds > limit}
        return dropped | {count: statistics.median(times) for count, times in times_of.items() if count not in dropped}

    @staticmethod
    def _is_hopeless(seconds: float, first: Mapping[int, float]) -> bool:
        """Whether a first run took far too long. Short ones are not judged: a first run includes preparations."""
        return seconds > _FIRST_SECONDS and seconds > _FIRST_HOPELESS * min(first.values())

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
    """``most`` and its halves, such as ``(6, 3, 1)``: numbers of threads to try."""
    counts = [most]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return tuple(counts)


def fixed() -> Threads:
    """The number of threads that torch uses now, never measured."""
    return Threads((torch.get_num_threads(),))


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
