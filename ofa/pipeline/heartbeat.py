"""Is every process of a torchrun run still there? A peer that died closes its connection; one behind a cut cable does
not, and a collective operation would wait for it for half an hour.

Rank 0 and each other rank send each other a byte every few seconds, on a connection of their own and from a thread. Who
hears nothing for ``SILENT_SECONDS`` says so and ends the process, whatever its main thread waits for.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ofa.pipeline.run_lock import process_start

BEAT_SECONDS = 5.0
SILENT_SECONDS = 60.0
AGENT_SECONDS = 15.0  # for torchrun's own process to end, then to heed that it should
# As sysexits.h has it for an input or output error. Not 2: nothing that the user gave is wrong.
EXIT_CODE = 74


@dataclass
class _Peer:
    connection: socket.socket
    rank: int
    heard: float = field(default_factory=time.monotonic)


@contextmanager
def watched(*, rank: int, processes: int, host: str, broadcast_number: Callable[[int], int]) -> Iterator[None]:
    """Watches the other processes until the end of the block. All ranks must enter it.

    Args:
        host: where rank 0 is.
        broadcast_number: gives every rank the number that rank 0 calls it with.
    """
    listener = socket.create_server(("", 0)) if rank == 0 else None
    port = broadcast_number(listener.getsockname()[1] if listener else 0)
    secret = broadcast_number(secrets.randbits(62)).to_bytes(8, "big")  # other programs may knock
    if listener:
        peers = _accepted(listener, processes - 1, secret)
    else:
        connection = socket.create_connection((host, port), timeout=SILENT_SECONDS)
        connection.sendall(secret + rank.to_bytes(4, "big"))
        peers = [_Peer(connection, 0)]
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(peers, over), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for peer in peers:
            peer.connection.close()


def _accepted(listener: socket.socket, count: int, secret: bytes) -> list[_Peer]:
    listener.settimeout(SILENT_SECONDS)
    peers: list[_Peer] = []
    with listener:
        while len(peers) < count:
            connection, _ = listener.accept()
            connection.settimeout(SILENT_SECONDS)
            hello = b""
            with suppress(OSError):
                while len(hello) < 12 and (more := connection.recv(12 - len(hello))):
                    hello += more
            if hello[:8] == secret and len(hello) == 12:
                peers.append(_Peer(connection, int.from_bytes(hello[8:], "big")))
            else:
                connection.close()
    return peers


def _watch(peers: list[_Peer], over: threading.Event) -> None:
    selector = selectors.DefaultSelector()
    for peer in peers:
        peer.connection.setblocking(False)
        selector.register(peer.connection, selectors.EVENT_READ, peer)
    sent = 0.0
    while not over.is_set() and selector.get_map():
        if time.monotonic() - sent >= BEAT_SECONDS:
            sent = time.monotonic()
            for key in list(selector.get_map().values()):
                with suppress(OSError):  # a full buffer, or a connection that is read as closed below
                    key.data.connection.send(b".")
        for key, _ in selector.select(timeout=min(0.2, BEAT_SECONDS)):
            _hear(selector, key.data)
        for key in list(selector.get_map().values()):
            if time.monotonic() - key.data.heard > SILENT_SECONDS:
                _end(key.data.rank)
    selector.close()


def _hear(selector: selectors.BaseSelector, peer: _Peer) -> None:
    try:
        alive = bool(peer.connection.recv(4096))
    except BlockingIOError:
        return
    except OSError:
        alive = False
    if alive:
        peer.heard = time.monotonic()
    else:
        selector.unregister(peer.connection)  # it ended: its other connections are closed too, which torch notices


def _end(rank: int) -> None:
    print(
        f"stopped: nothing was heard of process {rank} of this run for {SILENT_SECONDS:.0f} seconds, its machine or "
        "the network is down; what was finished is intact, start the same command again",
        file=sys.stderr,
        flush=True,
    )
    with suppress(OSError):
        _end_agent_later()
    os._exit(EXIT_CODE)


# Ends a process that is still there after so many seconds: first its number, then when it started.
_END_LATER = """
import os, signal, sys, time
from ofa.pipeline.run_lock import process_start
agent, started, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
for number in (signal.SIGTERM, signal.SIGKILL):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process_start(agent) != started:
            sys.exit()
        time.sleep(0.2)
    os.kill(agent, number)
"""


def _end_agent_later() -> None:
    """torchrun's own process waits for the other machine's too, until the system gives the connection up: a quarter of
    an hour. Where it has no restart left, it is ended after a while."""
    variables = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")
    if not all(name in os.environ for name in variables):
        return
    if int(os.environ[variables[1]]) < int(os.environ[variables[2]]):
        return
    agent = os.getppid()
    if started := process_start(agent):
        subprocess.Popen(
            [sys.executable, "-c", _END_LATER, str(agent), started, str(AGENT_SECONDS)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
