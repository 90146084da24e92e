"""Timing several things so that the machine's drift hits them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm


def interleaved(
    calls: Sequence[Callable[[], object]],
    *,
    rounds: int,
    seconds: float = 1e-3,
    most: int = 20,
    description: str = "measure",
    progress: bool = True,
) -> np.ndarray:
    """Seconds per call, ``(rounds, len(calls))``: every round times every call, so slow drift cancels.

    Within a round a call is repeated for about ``seconds`` (once to ``most`` times) and its median kept. A warm-up
    round comes first. Take the median over rounds.
    """
    repeats = []
    for call in calls:
        call()
        once = min(_timed(call) for _ in range(3))
        repeats.append(int(np.clip(seconds / max(once, 1e-9), 1, most)))
    times = np.empty((rounds, len(calls)))
    for row in tqdm(times, desc=description, unit="round", disable=None if progress else True):
        for index, (call, count) in enumerate(zip(calls, repeats, strict=True)):
            call()  # the caches held another model
            row[index] = np.median([_timed(call) for _ in range(count)])
    return times


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) * 1e-9
