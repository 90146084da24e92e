"""Interleaved rounds, told by calls that note when they ran."""

import time

import numpy as np
import pytest

from ofa.export.runtimes import timing
from ofa.export.runtimes.timing import drift, interleaved, lower_quartile


class Calls:
    def __init__(self):
        self.order = []

    def make(self, name, seconds=0.0):
        def run():
            self.order.append(name)
            time.sleep(seconds)

        return run


def runs(order):
    """``[(name, how often in a row)]``."""
    found = []
    for name in order:
        if found and found[-1][0] == name:
            found[-1][1] += 1
        else:
            found.append([name, 1])
    return [tuple(pair) for pair in found]


def test_every_round_times_every_call():
    calls = Calls()
    times = interleaved(
        [calls.make("slow", 0.004), calls.make("fast", 0.0005)], rounds=20, seconds=1e-4, progress=False
    )
    assert times.shape == (20, 2)
    assert (times[:, 0] >= 0.004).all() and (times[:, 1] >= 0.0005).all()
    assert (times[:, 1] < times[:, 0]).all()
    # After the warm-up every round warms each call up once and then times it three times, in an order of its own.
    rounds = [calls.order[-160 + 8 * number :][:8] for number in range(20)]
    assert all(sorted(runs(one)) == [("fast", 4), ("slow", 4)] for one in rounds)
    assert len({one[0] for one in rounds}) == 2


@pytest.mark.parametrize("most", [1, 7])
def test_short_calls_are_repeated_within_a_round(most):
    calls = Calls()
    interleaved([calls.make("one")], rounds=4, seconds=0.5, most=most, progress=False)
    assert len(calls.order) == 4 + 4 * (1 + most)


def test_cold_calls_run_once_after_others():
    calls = Calls()
    names = ["a", "b", "c", "d"]
    interleaved([calls.make(name) for name in names], rounds=6, cold={1, 2}, most=5, progress=False)
    measured = calls.order[-6 * (6 + 6 + 1 + 1) :]
    assert [measured.count(name) for name in names] == [36, 6, 6, 36]


def test_drift_is_divided_out(monkeypatch):
    """A machine of half the speed in every other round, by a clock of our own."""
    now, pace = [0.0], [1.0]

    def rounds(numbers, **_):
        for number in numbers:
            pace[0] = 1.0 + number % 2
            yield number

    def call(seconds):
        def run():
            now[0] += seconds * pace[0]

        return run

    monkeypatch.setattr(timing, "tqdm", rounds)
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: now[0] * 1e9)
    calls = [call(seconds) for seconds in (1.0, 3.0, 5.0)]
    plain, corrected = (interleaved(calls, rounds=8, reference=one, cold={2}, most=1) for one in (None, 1))
    assert plain == pytest.approx(np.tile([[1.0, 3.0, 5.0], [2.0, 6.0, 10.0]], (4, 1)))
    assert corrected == pytest.approx(np.tile([1.5, 4.5, 7.5], (8, 1)))


def test_typical_is_not_moved_by_disturbed_rounds():
    times = np.full((10, 2), [1.0, 2.0])
    times[::2] *= 50
    assert lower_quartile(times) == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize(
    ("pace", "wanted"),
    [([1.0], 1.0), ([1.0, 2.0], 2.0), ([1.0] * 20, 1.0), ([1.0] * 10 + [1.6] * 10, 1.6), ([1.0, 9.0, 1.0] * 6, 1.0)],
)
def test_drift_is_between_thirds_of_the_rounds(pace, wanted):
    assert drift(np.array(pace)) == pytest.approx(wanted)
    assert drift(np.array(pace[::-1])) == pytest.approx(wanted)


def test_the_references_time_in_each_round_is_told():
    calls, told = Calls(), []
    made = [calls.make("one", 0.002), calls.make("two")]
    interleaved(made, rounds=5, reference=0, seconds=1e-4, most=1, progress=False, on_pace=told.append)
    (pace,) = told
    assert pace.shape == (5,) and (pace >= 0.002).all()
