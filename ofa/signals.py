"""Ctrl-C and SIGTERM as a wish to stop, so that training can write a checkpoint first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Whoever stops a process kills it after a while: better the last checkpoint than none of this.
_PATIENCE_SECONDS = 8


@contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Gives a function that returns the number of the signal that came, or 0.

    A second signal, or one that goes unheard for eight seconds, raises ``KeyboardInterrupt`` or ``SystemExit(143)`` at
    once; one that is still unheard at the end raises it there. Outside the main thread, where signals do not arrive,
    nothing is changed.
    """
    came = 0

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise_for(came)
        came = number
        if hasattr(signal, "setitimer"):  # not on Windows
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGALRM] if hasattr(signal, "SIGALRM") else [])]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: came
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise_for(came)


def raise_for(number: int) -> None:
    """Ends the process as the signal asked: ``KeyboardInterrupt``, or ``SystemExit`` with 143 for SIGTERM."""
    if number == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
    raise KeyboardInterrupt
