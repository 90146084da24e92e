"""Memory that a runtime takes for a model: how much a fresh process grows by loading and running it.

``python -m ofa.export.runtimes.process_memory RUNTIME MODEL THREADS SIZE...`` prints bytes; ``resident`` runs that.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RUNS = 3
_TIMEOUT_SECONDS = 300


def resident(runtime: str, model: Path, shape: tuple[int, ...], *, threads: int = 1) -> int:
    """Bytes by which a process of its own grew at most: the file, its weights as the runtime packs them, activations.

    ``runtime`` is a module of ``ofa.export.runtimes``; ``shape`` is ``(1, channels, height, width)``. Linux alone tells
    it. Raises ``ValueError`` elsewhere, and when the model cannot be run.
    """
    if not _CLEAR.exists():
        raise ValueError("a process's peak memory is read from /proc, which only Linux has")
    command = [sys.executable, "-m", __name__, runtime, str(model), str(threads), *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"{runtime} could not run {model}: {last}")
    return int(done.stdout.split()[-1])


def _main(runtime: str, model: str, threads: str, *sizes: str) -> None:
    module = import_module(f"ofa.export.runtimes.{runtime}")
    _CLEAR.write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    call = module.bind(module.load(Path(model), threads=int(threads)), tuple(map(int, sizes)))
    for _ in range(_RUNS):
        call()
    print(_status("VmHWM") - before)


def _status(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    _main(*sys.argv[1:])
