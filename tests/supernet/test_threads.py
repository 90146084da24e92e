"""The number of threads, with a simulated clock: chosen, kept, and chosen again when the work becomes slower."""

import pytest
import torch

from ofa.supernet.threads import SLOWER, Threads, halves


class Machine:
    """A clock, and work that takes ``seconds[torch's number of threads]``."""

    def __init__(self, seconds):
        self.now, self.seconds, self.ran = 0.0, dict(seconds), []

    def clock(self):
        return self.now

    def work(self):
        count = torch.get_num_threads()
        self.ran.append(count)
        self.now += self.seconds[count]

    def steps(self, threads, number, *, size=1.0):
        """So many steps as the training loop makes them."""
        for _ in range(number):
            if threads.due():
                threads.measure(self.work)
            started = self.now
            self.work()
            threads.took(size * (self.now - started), size)


QUIET = {4: 0.03, 2: 0.04, 1: 0.06}
BUSY = {4: 2.4, 2: 0.9, 1: 0.1}


def made(machine, candidates=(4, 2, 1), **options):
    return Threads(candidates, clock=machine.clock, **options)


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        (QUIET, 4),
        (BUSY, 1),
        ({4: 0.05, 2: 0.04, 1: 0.06}, 2),
        ({4: 0.044, 2: 0.043, 1: 0.04}, 4),  # as good as equal: the first stays
    ],
)
def test_the_fastest_number_is_measured_once_and_kept(seconds, best):
    machine = Machine(seconds)
    threads = made(machine)
    with threads.used():
        machine.steps(threads, 200)
        assert torch.get_num_threads() == threads.count == best
    assert torch.get_num_threads() == 1
    assert machine.ran[-170:] == [best] * 170


def test_a_machine_that_becomes_busy_changes_the_number_once_and_says_so():
    machine, said = Machine(QUIET), []
    threads = made(machine, told=said.append)
    with threads.used():
        machine.steps(threads, 300)
        machine.seconds = dict(BUSY)
        before = len(machine.ran)
        machine.steps(threads, 40)
    assert threads.count == 1
    assert said == ["1 thread from here on, not 4: 1 thread 100 ms, 2 threads 900 ms, 4 threads 2400 ms"]
    # Five slow steps tell it, three more measure it.
    assert machine.ran[before:].count(4) <= 10
    assert machine.ran[-30:] == [1] * 30


@pytest.mark.parametrize("pace", [1.0, 1.2, 0.95 * SLOWER])
def test_what_is_not_clearly_slower_is_not_measured(pace):
    machine = Machine(QUIET)
    threads = made(machine)
    with threads.used():
        machine.steps(threads, 300)
        machine.seconds = {count: pace * seconds for count, seconds in QUIET.items()}
        before = len(machine.ran)
        machine.steps(threads, 300)
    assert machine.ran[before:] == [4] * 300


def test_single_slow_steps_are_no_slowdown():
    machine = Machine(QUIET)
    threads = made(machine)
    with threads.used():
        machine.steps(threads, 300)
        for _ in range(50):
            machine.seconds = {count: 20 * seconds for count, seconds in QUIET.items()}
            machine.steps(threads, 1)
            machine.seconds = dict(QUIET)
            machine.steps(threads, 5)
    assert set(machine.ran[100:]) == {4}


def test_larger_work_is_no_slowdown():
    machine = Machine(QUIET)
    threads = made(machine)
    with threads.used():
        machine.steps(threads, 300)
        machine.steps(threads, 300, size=7.0)
    assert set(machine.ran[100:]) == {4}


def test_what_all_numbers_are_slow_at_is_measured_rarely():
    """A machine that stays half as fast, and work that goes up and down for ever, cost a few percent at most."""
    machine = Machine(QUIET)
    threads = made(machine)
    with threads.used():
        machine.steps(threads, 300)
        before = len(machine.ran)
        for number in range(200):
            machine.seconds = {count: (1 + number % 2) * seconds for count, seconds in QUIET.items()}
            machine.steps(threads, 20)
    extra = len(machine.ran) - before - 200 * 20
    assert 0 < extra < 0.07 * 200 * 20


def test_with_few_threads_it_is_tried_again_when_the_machine_may_be_free():
    machine, said = Machine(BUSY), []
    threads = made(machine, told=said.append)
    with threads.used():
        machine.steps(threads, 3000)
        assert threads.count == 1
        assert len(machine.ran) < 3100  # tried some times, with one look at what is hopeless
        machine.seconds = dict(QUIET)
        machine.steps(threads, 20000)
    assert threads.count == 4
    assert said[-1].startswith("4 threads from here on, not 1: ") and "4 threads 30.0 ms" in said[-1]


def test_a_restored_state_is_used_without_a_measurement():
    machine = Machine(BUSY)
    threads = made(machine)
    with threads.used():
        machine.steps(threads, 20)
    again = made(machine, state=threads.state)
    before = len(machine.ran)
    with again.used():
        assert torch.get_num_threads() == 1
        machine.steps(again, 50)
    assert machine.ran[before:] == [1] * 50
    assert again.state == threads.state
    # Slower than when the state was written: seen at once, though this process has known no other pace.
    machine.seconds = {count: 2 * seconds for count, seconds in BUSY.items()}
    third = made(machine, state=threads.state)
    before = len(machine.ran)
    with third.used():
        machine.steps(third, 20)
    assert set(machine.ran[before:]) != {1}


def test_a_state_of_a_machine_with_more_cores_is_measured_anew():
    machine = Machine(QUIET)
    threads = made(machine, candidates=(2, 1), state={"threads": 4, "pace": 1.0})
    assert threads.due()


def test_a_single_number_is_never_measured():
    machine = Machine(QUIET)
    threads = made(machine, candidates=(2,))
    with threads.used():
        machine.steps(threads, 100)
        machine.seconds = dict(BUSY)
        machine.steps(threads, 100)
    assert machine.ran == [2] * 200


@pytest.mark.parametrize(("most", "counts"), [(1, (1,)), (2, (2, 1)), (6, (6, 3, 1)), (64, (64, 32, 16, 8, 4, 2, 1))])
def test_halves(most, counts):
    assert halves(most) == counts


def test_hopeless_candidates_run_once():
    """Beside many processes a step with all threads can take half a minute."""
    machine = Machine({8: 120.0, 4: 60.0, 2: 30.0, 1: 0.5})
    threads = made(machine, candidates=(8, 4, 2, 1))
    with threads.used():
        machine.steps(threads, 10)
    assert threads.count == 1
    assert [machine.ran.count(count) for count in (8, 4, 2)] == [0, 0, 1]


def test_a_first_run_that_must_prepare_much_decides_nothing():
    machine = Machine(QUIET)
    threads, pieces = made(machine), iter([0.9, 0.9, 0.9])

    def work():
        machine.now += next(pieces, 0.0)
        machine.work()

    with threads.used():
        threads.measure(work)
    assert threads.count == 4
