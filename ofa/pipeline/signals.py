"""SIGINT and SIGTERM as a request to stop, so that training can write a checkpoint first; and interrupts that Python
swallowed, raised again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Whoever stops a process kills it after a while: better the last checkpoint than none of this.
_PATIENCE_SECONDS = 8


@contextmanager
def catch_stop_signals() -> Iterator[Callable[[], int]]:
    """Gives a function that returns the number of the signal that was received, or 0.

    A second signal, or one that goes unheard for eight seconds, raises ``KeyboardInterrupt`` or ``SystemExit(143)`` at
    once; one that is still unheard at the end raises it there. Outside the main thread, where signals do not arrive,
    nothing is changed; a signal that the process was started to ignore, as in a shell's background, stays ignored.
    """
    received_signal = 0

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal received_signal
        if received_signal:
            raise_for(received_signal)
        received_signal = number
        if hasattr(signal, "setitimer"):  # not on Windows
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGALRM] if hasattr(signal, "SIGALRM") else [])]
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield lambda: received_signal
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    if received_signal:
        raise_for(received_signal)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Ctrl-C raises ``KeyboardInterrupt`` as ever, and again at each call of the function that this gives.

    Python drops an exception that is raised inside a finaliser or a fork hook, such as those of data workers that end
    or start; long loops call the function so that such a Ctrl-C is heard at the next turn. Outside the main thread, or
    where SIGINT is ignored, nothing is changed.
    """
    interrupted = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not in_main or before is not signal.default_int_handler:
        yield check
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def raise_for(number: int) -> None:
    """Ends the process as the signal asked: ``KeyboardInterrupt``, or ``SystemExit`` with 143 for SIGTERM."""
    if number == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
    raise KeyboardInterrupt
