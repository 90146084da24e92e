"""What every way to a device has in common: its calls and its errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ofa.export.runtimes.remote.rounds import Plan, Round


class RemoteError(RuntimeError):
    """What stops a measurement on a device: one sentence that says what to do."""


class DeviceLost(RemoteError):
    """The device went away in the middle; the argument is what is known of it."""


class Link(Protocol):
    """A way to a device."""

    def environment(self, *, threads: int) -> dict[str, Any]:
        """What a time measured there holds for: ``runtime``, ``version``, ``threads``, ``cpu``, ``device`` and more.

        Raises ``RemoteError`` when the device cannot be reached or lacks something.
        """

    def rounds(self, plan: Plan, numbers: Sequence[int]) -> Iterator[Round]:
        """Times the rounds ``numbers`` there and gives each as it ends. Raises ``RemoteError``, ``DeviceLost``."""
