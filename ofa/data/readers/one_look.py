"""Within a run the data is looked at once, however often it is asked for: all stages then see the same images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_seen: ContextVar[dict[Hashable, Any] | None] = ContextVar("what this run has seen of its data", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Inside, ``look`` gives for a key what it gave first."""
    token = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(token)


def look(key: Hashable, at: Callable[[], T]) -> T:
    """What ``at`` gives, or gave for this ``key`` before within ``one_look``."""
    seen = _seen.get()
    if seen is None:
        return at()
    if key not in seen:
        seen[key] = at()
    return seen[key]
