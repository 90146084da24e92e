"""What libraries read from the environment while they are loaded: set before any of them is, with ``import ofa``.

A variable that the user has set stays. This module imports nothing heavy, and it is the first that the package imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, MutableMapping

# How often a thread of libgomp (GCC's OpenMP, which torch has) looks whether the others are done before it sleeps:
# about three milliseconds, libgomp's own number, said here so that every build of it does the same. Fewer looks make a
# quiet machine's training step up to twice as slow, and a busy machine's no faster. There the number of threads
# decides, which is measured (ofa/pipeline/threads.py, benchmarks/results/busy_machine.md).
SPIN_COUNT = "300000"
# Each name that we set, and the user's variables that then decide instead.
_DEFAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "GOMP_SPINCOUNT": (SPIN_COUNT, ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")),
    # From 1.32 on onnxruntime leaves a device id and a store of events below the home folder, for its makers.
    "ORT_DISABLE_TELEMETRY": ("1", ("ORT_DISABLE_TELEMETRY",)),
}
# With one of these the user says how many threads work, and nothing is measured.
_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")


def set_defaults(environ: MutableMapping[str, str] = os.environ) -> None:
    """Sets what neither the user nor an earlier call has set."""
    for name, (value, deciding) in _DEFAULTS.items():
        if not any(other in environ for other in deciding):
            environ[name] = value


def thread_setting(environ: Mapping[str, str] = os.environ) -> str | None:
    """``OMP_NUM_THREADS=4`` when the user fixed the number of threads (torchrun does too); ``None`` when it is free."""
    return next((f"{name}={environ[name]}" for name in _COUNTS if environ.get(name)), None)


def spin_setting(environ: Mapping[str, str] = os.environ) -> str | None:
    """``OMP_WAIT_POLICY=PASSIVE`` when the user said how threads wait; ``None`` when it is our choice."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        if name in environ and (name, environ[name]) != ("GOMP_SPINCOUNT", SPIN_COUNT):
            return f"{name}={environ[name]}"
    return None


def prepare(environ: MutableMapping[str, str] = os.environ, loaded: Collection[str] = sys.modules) -> bool:
    """``set_defaults``; returns whether torch was loaded before and has thus read other settings."""
    too_late = "torch" in loaded and not any(name in environ for name in _DEFAULTS["GOMP_SPINCOUNT"][1])
    set_defaults(environ)
    return too_late


TOO_LATE = prepare()  # importing the package is what sets them
