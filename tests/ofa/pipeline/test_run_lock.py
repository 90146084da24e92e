"""One owner of a run folder, with real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ofa.errors import UserError
from ofa.pipeline import run_lock
from ofa.pipeline.run_lock import Owner, owned

# Takes the lock, says so, and keeps it until a line comes; says who has it when it cannot.
HOLD = """
import sys
from pathlib import Path
from ofa.errors import UserError
from ofa.pipeline.run_lock import owned
try:
    with owned(Path(sys.argv[1])):
        print("mine", flush=True)
        sys.stdin.readline()
except UserError as error:
    print(error, flush=True)
"""


@pytest.fixture
def hold(tmp_path):
    """``hold()``: a process that tries to own the folder."""
    processes = []

    def start():
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def quick(monkeypatch):
    """Locks of other machines are judged within a second."""
    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(run_lock, "STALE_SECONDS", 1.0)


def end(process):
    return process.communicate("\n", timeout=30)[0]


def written(folder, owner: Owner | str) -> Path:
    (folder / "lock").write_text(owner if isinstance(owner, str) else json.dumps(asdict(owner)))
    return folder / "lock"


def test_the_second_is_told_who_has_it(hold, tmp_path):
    first = hold()
    assert first.stdout.readline() == "mine\n"
    said = end(hold())
    assert said.startswith(f"{tmp_path}: another command works there (process {first.pid} on {socket.gethostname()}, ")
    assert said.count("\n") == 1
    end(first)
    assert list(tmp_path.iterdir()) == []  # given back
    with owned(tmp_path):
        assert (tmp_path / "lock").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_owner_blocks_nobody(hold, tmp_path, number):
    first = hold()
    assert first.stdout.readline() == "mine\n"
    first.send_signal(number)
    while run_lock.process_start(first.pid):
        time.sleep(0.01)
    # A zombie, whom its parent has not asked for yet, is dead too.
    with owned(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_find_a_stale_lock_one_wins(hold, tmp_path):
    for _ in range(3):
        written(tmp_path, replace(run_lock._this_process(), pid=2**22 + 1))
        written(tmp_path, (tmp_path / "lock").read_text()).rename(tmp_path / "lock.next")  # killed while taking over
        written(tmp_path, replace(run_lock._this_process(), pid=2**22 + 1))
        processes = [hold() for _ in range(6)]
        said = [process.stdout.readline() for process in processes]
        assert sorted(line == "mine\n" for line in said) == [False] * 5 + [True], said
        (winner,) = (process for process, line in zip(processes, said, strict=True) if line == "mine\n")
        assert all(f"process {winner.pid} on" in line for line in said if line != "mine\n")
        for process in processes:
            end(process)
        assert list(tmp_path.iterdir()) == []


def test_a_number_that_another_process_has_now(tmp_path):
    owner = run_lock._this_process()
    assert owner.started
    written(tmp_path, replace(owner, started="1"))
    with owned(tmp_path):
        pass
    written(tmp_path, owner)  # a thread of this process, in a notebook
    with pytest.raises(UserError, match=f"process {os.getpid()} on"), owned(tmp_path):
        pass


ELSEWHERE = Owner(token="t", host="node7", machine="another", pid=os.getpid(), started="1", since="2026-01-01 10:00:00")


def test_another_machine_that_touches_its_lock(quick, tmp_path, capsys):
    path = written(tmp_path, ELSEWHERE)
    os.utime(path, (1, 1))  # its clock may be wrong by years
    beat = run_lock._Beat(path, ELSEWHERE, signal.SIGINT)
    beat.start()
    works = r"works there \(process \d+ on node7, since 2026-01-01 10:00:00\)"
    with pytest.raises(UserError, match=works), owned(tmp_path):
        pass
    beat.end()
    assert path.exists()
    assert f"{path}: process {os.getpid()} on node7" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [ELSEWHERE, "", "[" * 9000, json.dumps({**asdict(ELSEWHERE), "host": "a\nb"})],
    ids=["alive no more", "being written", "deep", "two lines"],
)
def test_another_machine_that_does_not(quick, tmp_path, content):
    path = written(tmp_path, content)
    os.utime(path, (2**33, 2**33))  # in the future
    started = time.monotonic()
    with owned(tmp_path):
        assert 0.9 < time.monotonic() - started < 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
def test_an_owner_whose_lock_was_taken_stops(quick, tmp_path, handler, request):
    before = signal.signal(signal.SIGINT, handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(UserError, match="another took the folder over"), owned(tmp_path):
        written(tmp_path, ELSEWHERE)
        for _ in range(300):  # a busy machine may look late
            time.sleep(0.1)
    assert json.loads((tmp_path / "lock").read_text()) == asdict(ELSEWHERE)  # theirs


def test_a_file_system_without_links(monkeypatch, tmp_path):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with owned(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        with pytest.raises(UserError, match=f"process {os.getpid()} "), owned(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_where_processes_cannot_be_asked_for(quick, monkeypatch, tmp_path):
    monkeypatch.setattr(run_lock, "_machine", lambda: "")
    with owned(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()} "), owned(tmp_path):
        pass


def test_two_commands_at_once(start, small, call, tmp_path):
    folder = tmp_path / "run"
    first = start("train", small, "--out", folder, "--set", "train.epochs=50")
    while not list(folder.glob("train/checkpoint-*")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    code, out, err = call("run", small, "--out", folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"{folder}: another command works there (process {first.pid} on ")
    assert "this run has no report yet" in call("show", folder)[2]  # readers need no lock
    first.send_signal(signal.SIGINT)
    assert first.communicate(timeout=60)[1] == f"stopped; `ofa train {folder}` goes on from here\n"
    assert not (folder / "lock").exists()
