"""Which numbers of threads a run may choose from, why, and what of the choice is kept."""

import json

import pytest
import torch

from ofa import environment
from ofa.pipeline import threads
from ofa.pipeline.threads import EvaluationThreads, candidates, explained, training_threads

SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.fixture
def machine(monkeypatch):
    """``machine(cores, **variables)``: torch has so many threads, and the environment these settings alone."""

    def make(cores, **variables):
        for name in (*SETTINGS, "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(environment, "TOO_LATE", False)
        monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
        monkeypatch.setattr(torch, "set_num_threads", lambda count: None)

    return make


RANKS = {"RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}


@pytest.mark.parametrize(
    ("cores", "variables", "numbers", "said"),
    [
        (8, {}, (8, 4, 2, 1), "8 threads: measured when training begins, and again when steps become slow"),
        (1, {}, (1,), "1 thread: torch has no more"),
        (8, {"OMP_NUM_THREADS": "8"}, (8,), "8 threads: OMP_NUM_THREADS=8 is set"),
        (3, {"MKL_NUM_THREADS": "3"}, (3,), "3 threads: MKL_NUM_THREADS=3 is set"),
        (8, RANKS, (2,), "2 threads: 8 threads shared by 4 processes"),
        (2, RANKS, (1,), "1 thread: 2 threads shared by 4 processes"),
        (8, RANKS | {"OMP_NUM_THREADS": "1"}, (8,), "8 threads: OMP_NUM_THREADS=1 is set"),
    ],
)
def test_the_users_setting_comes_first_then_other_processes_then_a_measurement(
    machine, cores, variables, numbers, said
):
    machine(cores, **variables)
    assert candidates() == numbers
    assert explained(training_threads()) == said


def test_compiled_code_keeps_its_number(machine):
    machine(8)
    assert training_threads(compiled=True).candidates == (8,)


def test_a_policy_of_the_user_and_one_that_came_too_late_are_told(machine, monkeypatch):
    machine(1, OMP_WAIT_POLICY="PASSIVE")
    assert explained(training_threads()) == "1 thread: torch has no more; waiting by OMP_WAIT_POLICY=PASSIVE"
    monkeypatch.setattr(environment, "TOO_LATE", True)
    assert explained(training_threads()).endswith(
        "torch was imported before ofa, which could not say how its threads wait: import ofa first"
    )


def test_what_was_measured_is_told(machine):
    machine(2)
    chosen = training_threads()
    chosen.measure(lambda: None)
    assert " (now: 1 thread " in explained(chosen)


def test_a_collection_that_goes_on_keeps_its_number(machine, tmp_path, monkeypatch):
    machine(2)
    path, tried = tmp_path / "threads.json", []
    times = iter(range(10**6))
    monkeypatch.setattr(threads.Threads, "_timed", lambda _self, trial, count: [0, 1.0, 5.0][count])
    first = EvaluationThreads(path)
    first.ready(lambda: None)
    assert first.threads.count == 1
    monkeypatch.setattr(threads.time, "perf_counter", lambda: float(next(times)))
    for _ in range(2):
        with first.timed(10):
            pass
    kept = json.loads(path.read_text())
    assert kept == {"evaluation": {"threads": 1, "pace": 0.1}}
    again = EvaluationThreads(path, resume=True)
    again.ready(lambda: tried.append(1))
    assert (again.threads.count, again.threads.state, tried) == (1, kept["evaluation"], [])
    assert EvaluationThreads(path).threads.due()  # one that begins measures anew
    for damage in ("", "{}", '{"evaluation": {"threads": "x", "pace": 1}}', '{"evaluation": []}'):
        path.write_text(damage)
        assert EvaluationThreads(path, resume=True).threads.due()
