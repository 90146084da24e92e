"""One owner of a run folder: the file ``lock`` says which process writes there. Readers need none.

The file is made in one step: as a link to a finished file, which network file systems also do in one step. Its owner
touches it every few seconds. A lock of this machine is stale when its process is gone. A lock of another machine, whose
clock may differ, is stale when nobody touched it for two minutes of this machine's clock. So a killed process blocks
nobody for longer than that.
"""

from __future__ import annotations

import _thread
import datetime
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ofa.errors import UserError

BEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
_MAX_BYTES = 10_000
_MAX_NESTED = 5
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


@dataclass(frozen=True)
class Owner:
    """A process. ``machine`` differs between boots and between containers that do not see each other's processes;
    ``started`` tells a process from a later one of the same number. Empty where the system does not say."""

    token: str
    host: str
    machine: str
    pid: int
    started: str
    since: str

    def text(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """This process owns ``folder``, which is made when it is not there, until the end of the block.

    Raises ``UserError`` when another process owns it, or when the lock was lost while this process was stopped for
    minutes and another machine's took over.
    """
    owner = _this_process()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        holder = _take(folder / "lock", owner)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{folder} cannot be written ({error.strerror}); give another folder with --out") from error
    if holder:
        raise UserError(
            f"{folder}: another command works there ({holder.text()}); wait for it, stop it, or give another folder "
            "with --out"
        )
    # Not SIGINT: a shell's background ignores that one.
    usable = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGUSR1")
    before = signal.signal(signal.SIGUSR1, _raise_interrupt) if usable else None
    beat = _Beat(folder / "lock", owner, signal.SIGUSR1 if usable else signal.SIGINT)
    beat.start()
    try:
        yield
    except KeyboardInterrupt:
        if beat.lost:
            raise UserError(
                f"{folder}: this process stood still for minutes, and another took the folder over; stopped"
            ) from None
        raise
    finally:
        beat.end()
        if usable:
            signal.signal(signal.SIGUSR1, before or signal.SIG_DFL)
        if _read(folder / "lock") == owner:
            with suppress(OSError):
                (folder / "lock").unlink()


class _Beat(threading.Thread):
    """Touches the lock, so that other machines see that its owner lives; interrupts the owner when the lock is lost."""

    def __init__(self, path: Path, owner: Owner, interrupt: signal.Signals) -> None:
        super().__init__(name="lock", daemon=True)
        self._interrupt = interrupt
        self._path, self._owner, self._over = path, owner, threading.Event()
        self.lost = False

    def run(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            holder = _read(self._path)
            if holder and holder != self._owner:
                self.lost = True
                # As Ctrl-C would, which also ends a wait of the main thread.
                if hasattr(signal, "pthread_kill"):
                    signal.pthread_kill(threading.main_thread().ident, self._interrupt)
                else:
                    _thread.interrupt_main()
                return
            with suppress(OSError):
                os.utime(self._path)

    def end(self) -> None:
        self._over.set()
        self.join()


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _take(path: Path, owner: Owner, *, nested: int = 0) -> Owner | None:
    """Makes ``owner`` the holder of the lock ``path``; returns another live one if there is one.

    A stale lock is replaced under a second lock beside it, so that of several processes that find it stale one wins.
    """
    while True:
        if _create(path, owner):
            return None
        holder, mark = _read(path), _mark(path)
        if mark is None:
            continue  # released just now
        if not _is_stale(path, holder, mark):
            if holder:
                return holder
            since = time.ctime(path.stat().st_mtime if path.exists() else None)
            return Owner("", "an unknown machine", "", 0, "", since)
        if nested == _MAX_NESTED:
            raise OSError(errno.EDEADLK, f"too many stale locks beside {path.name}")
        guard = path.with_name(f"{path.name}.next")
        if _take(guard, owner, nested=nested + 1):
            time.sleep(0.05)
            continue  # another process is replacing it
        try:
            if _mark(path) == mark and _read(path) == holder:
                path.unlink()
        finally:
            with suppress(OSError):
                guard.unlink()


def _create(path: Path, owner: Owner) -> bool:
    """Makes the lock in one step; False when there is one already."""
    content = json.dumps(asdict(owner)).encode()
    own = path.with_name(f".{path.name}.{owner.token}.{os.getpid()}.tmp")
    try:
        with own.open("xb") as file:
            file.write(content)
        try:
            os.link(own, path)
            return True
        except FileExistsError:
            return False
        except (OSError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LINKS:
                raise
    finally:
        own.unlink(missing_ok=True)
    # A file system without links: one that is made, but not yet written, counts as one whose owner is unknown.
    try:
        with path.open("xb") as file:
            file.write(content)
        return True
    except FileExistsError:
        return False


def _read(path: Path) -> Owner | None:
    """The lock's owner; None when there is no lock, or it was not wholly written."""
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_BYTES:
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        owner = Owner(**{field.name: values[field.name] for field in fields(Owner)})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = (owner.token, owner.host, owner.machine, owner.started, owner.since)
    whole = isinstance(owner.pid, int) and all(isinstance(text, str) and text.isprintable() for text in texts)
    return owner if whole else None


def _mark(path: Path) -> tuple[int, int] | None:
    """What changes when the lock is touched or replaced; None when there is no lock.

    The file is opened, so that a network file system asks its server.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            return status.st_ino, status.st_mtime_ns
    except FileNotFoundError:
        return None


def _is_stale(path: Path, holder: Owner | None, mark: tuple[int, int]) -> bool:
    """Whether the lock's process is gone: asked of this machine, or seen by nobody touching the lock."""
    if holder and holder.machine and holder.machine == _machine():
        started = process_start(holder.pid)
        return started is None or bool(holder.started and started and started != holder.started)
    return _is_untouched(path, holder, mark)


def _is_untouched(path: Path, holder: Owner | None, mark: tuple[int, int]) -> bool:
    """Looks at a lock of another machine until it is touched, or for so long that its owner must be gone."""
    owner = holder.text() if holder else "an unknown process"
    print(
        f"{path}: {owner}; looking for at most {STALE_SECONDS:.0f} seconds whether it still works there",
        file=sys.stderr,
        flush=True,
    )
    end = time.monotonic() + STALE_SECONDS
    while time.monotonic() < end:
        time.sleep(min(1.0, STALE_SECONDS / 20))
        if _mark(path) != mark:
            return False
    return True


def _this_process() -> Owner:
    return Owner(
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        started=process_start(os.getpid()) or "",
        since=datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
    )


def _machine() -> str:
    """This boot of this machine, and this process's view of its processes; empty where it is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        pass
    return socket.gethostname() if sys.platform == "darwin" else ""


def process_start(pid: int) -> str | None:
    """When a process of this machine started, as a text to compare; None when there is none."""
    if sys.platform == "linux":
        try:
            # The name, in brackets, may hold anything.
            state, *others = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if state in "ZX" else others[18]
    if sys.platform == "win32":
        return None  # nobody asks: the lock tells by being touched
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or None
