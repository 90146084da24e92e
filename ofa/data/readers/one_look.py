"""Within a run, the data is read only once, so that all stages see the same images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_results: ContextVar[dict[Hashable, Any] | None] = ContextVar("what this run has read of its data", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Inside, ``look`` returns for a key what it returned first."""
    token = _results.set({})
    try:
        yield
    finally:
        _results.reset(token)


def look(key: Hashable, read: Callable[[], T]) -> T:
    """The result of ``read()``, or within ``one_look`` that of the first call with this ``key``."""
    results = _results.get()
    if results is None:
        return read()
    if key not in results:
        results[key] = read()
    return results[key]
