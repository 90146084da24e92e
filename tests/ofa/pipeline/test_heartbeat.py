"""A process of a torchrun run that falls silent is noticed, whatever the others wait for."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ofa.pipeline import heartbeat

# Rank 0 waits for ever, as in a collective operation whose peer is out of reach. It says its port, then its secret.
WAITING = """
import sys, time
from ofa.pipeline import heartbeat
heartbeat.BEAT_SECONDS, heartbeat.SILENT_SECONDS = 0.05, float(sys.argv[1])

def share(number):
    print(number, flush=True)
    return number

with heartbeat.watched(rank=0, processes=2, host="localhost", broadcast_number=share):
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def waiting():
    """``waiting(silent, seconds)``: rank 0 in a process of its own, and rank 1's connection to it."""
    processes = []

    def start(silent, seconds):
        process = subprocess.Popen(
            [sys.executable, "-c", WAITING, str(silent), str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        port, secret = (int(process.stdout.readline()) for _ in range(2))
        connection = socket.create_connection(("localhost", port))
        connection.sendall(secret.to_bytes(8, "big") + (1).to_bytes(4, "big"))
        return process, connection

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_silence_ends_the_process_with_a_sentence(waiting):
    process, _connection = waiting(0.5, 60)
    started = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - started < 10
    assert process.returncode == heartbeat.EXIT_CODE
    assert err.startswith("stopped: nothing was heard of process 1 of this run for ") and err.count("\n") == 1


def test_a_peer_that_is_slow_or_has_ended_is_no_silent_one(waiting):
    process, connection = waiting(0.6, 2)
    for _ in range(5):
        time.sleep(0.2)
        connection.sendall(b".")
    connection.close()  # it has done its part
    assert (process.communicate(timeout=20)[1], process.returncode) == ("", 0)


def test_ranks_that_beat_stay(monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(heartbeat, "_end", lambda rank: ended.append(rank))
    ended, told, ready = [], [], threading.Event()

    def share(rank):
        calls = iter(range(2))

        def number(own):
            call = next(calls)
            if rank == 0:
                told.append(own)
                if call == 1:
                    ready.set()
            ready.wait(10)
            return told[call]

        def first(own):
            # Rank 0 tells its port before it knows its secret.
            if rank == 0 and len(told) == 0:
                told.append(own)
                next(calls)
                return own
            return number(own)

        return first

    def run(rank):
        with heartbeat.watched(rank=rank, processes=3, host="localhost", broadcast_number=share(rank)):
            time.sleep(1.5)
        return rank

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run, range(3))) == [0, 1, 2]
    assert ended == []


def test_another_program_that_knocks_is_sent_away(waiting):
    listener = socket.create_server(("", 0))
    secret = (7).to_bytes(8, "big")
    with ThreadPoolExecutor() as pool:
        accepted = pool.submit(heartbeat._accepted, listener, 1, secret)
        address = ("localhost", listener.getsockname()[1])
        for hello in (b"GET / HTTP/1.1\r\n\r\n", b""):
            with socket.create_connection(address) as stranger:
                stranger.sendall(hello)
        own = socket.create_connection(address)
        own.sendall(secret + (3).to_bytes(4, "big"))
        assert [peer.rank for peer in accepted.result(timeout=20)] == [3]
    own.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("restarts", "ends"), [("0", True), ("3", False)])
def test_torchruns_process_is_ended_when_it_has_no_restart_left(restarts, ends):
    """It would wait for the other machine's too."""
    code = (
        "import subprocess, sys, time\n"
        "code = 'from ofa.pipeline import heartbeat as h; h.AGENT_SECONDS = 0.5; h._end(1)'\n"
        "subprocess.run([sys.executable, '-c', code])\n"
        "time.sleep(4)\n"
    )
    variables = {"TORCHELASTIC_RUN_ID": "1", "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": restarts}
    agent = subprocess.run([sys.executable, "-c", code], env=os.environ | variables, capture_output=True, timeout=60)
    assert agent.returncode == (-signal.SIGTERM if ends else 0)
