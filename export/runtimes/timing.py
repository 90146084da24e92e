"""Timing several things so that the machine's drift hits them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import numpy as np
from tqdm import tqdm

# Repetitions of a warm call in a round: for about so many seconds, at least and at most so often.
SECONDS, MIN_CALLS, MAX_CALLS = 1e-3, 3, 20
REFERENCE_EVERY = 20  # calls


def interleaved(
    calls: Sequence[Callable[[], object]],
    *,
    rounds: int,
    cold: Collection[int] = (),
    reference: int | None = None,
    seconds: float = SECONDS,
    most: int = MAX_CALLS,
    seed: int = 0,
    description: str = "measure",
    progress: bool = True,
    on_pace: Callable[[np.ndarray], None] | None = None,
) -> np.ndarray:
    """Seconds per call, ``(rounds, len(calls))``: every round times every call, in an order of its own.

    Within a round a call is repeated for about ``seconds`` (three to ``most`` times) and its fastest kept: how long it
    takes when it runs again and again. The calls numbered in ``cold`` run once instead, after others: what they read is
    not in the processor's caches, as that of a block inside a network is not. With ``reference``, that call is timed
    between the others and each round's times are divided by how much slower than usual it was; ``on_pace`` is given its
    seconds in each round, for ``drift``. A warm-up round comes first. ``lower_quartile`` of the result is one time a
    call.
    """
    repeats = []
    for number, call in enumerate(calls):
        call()
        once = 0 if number in cold else min(_timed(call) for _ in range(3))
        repeats.append(0 if number in cold else int(np.clip(seconds / max(once, 1e-9), min(MIN_CALLS, most), most)))
    times, reference_seconds = np.empty((rounds, len(calls))), np.ones(rounds)
    for number in tqdm(range(rounds), desc=description, unit="round", disable=None if progress else True):
        references = []
        for place, index in enumerate(np.random.default_rng((seed, number)).permutation(len(calls))):
            times[number, index] = _timed(calls[index]) if repeats[index] == 0 else _warm(calls[index], repeats[index])
            if reference is not None and place % REFERENCE_EVERY == 0:
                references.append(_warm(calls[reference], 1))
        if references:
            reference_seconds[number] = np.median(references)
    if on_pace and reference is not None:
        on_pace(reference_seconds)
    slowdown = reference_seconds / np.median(reference_seconds)
    return times / slowdown[:, None]


def drift(reference_times: np.ndarray) -> float:
    """How many times slower the slowest third of a measurement was than its fastest, by medians of ``on_pace``'s."""
    thirds = [np.median(third) for third in np.array_split(reference_times, min(3, len(reference_times)))]
    return float(max(thirds) / min(thirds))


def lower_quartile(times: np.ndarray) -> np.ndarray:
    """One time a call ``(calls,)`` of ``interleaved``'s ``(rounds, calls)``: the lower quartile of the rounds.

    What disturbs a measurement only ever makes it longer, so a low quantile varies less than the mean or the median;
    the minimum depends on single lucky rounds.
    """
    return np.quantile(times, 0.25, axis=0)


def _warm(call: Callable[[], object], count: int) -> float:
    call()  # the caches held another model
    return min(_timed(call) for _ in range(count))


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) * 1e-9
