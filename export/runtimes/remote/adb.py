"""An Android phone over adb, timed by LiteRT's ``benchmark_model``. Written from its sources; not yet tried on a phone.

``OFA_BENCHMARK_MODEL`` says where the program is on the phone, ``/data/local/tmp/benchmark_model`` if unset.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa.export.runtimes.remote.link import DeviceLost, RemoteError
from ofa.export.runtimes.remote.rounds import Plan, Round
from ofa.export.runtimes.timing import REFERENCE_EVERY

_FOLDER = "/data/local/tmp"
# Its own defaults repeat each model for a second and a half.
_FLAGS = "--use_xnnpack=true --warmup_runs=1 --warmup_min_secs=0 --num_runs=3 --min_secs=0.002"
_PROPERTIES = ("ro.soc.manufacturer", "ro.soc.model", "ro.product.manufacturer", "ro.product.model")
_RESULT = re.compile(r"First inference: (\S+), Warmup \(avg\): \S+, Inference \(avg\): (\S+)")
_TIMEOUT_SECONDS = 300
# What adb says when the phone is not there, and what to do about it.
_REMEDIES = {
    "more than one device": "several phones are connected; name one as adb:SERIAL (`adb devices` lists them)",
    "unauthorized": "the phone does not trust this computer yet; unlock it and allow USB debugging",
    "no devices": "no phone is connected; switch on USB debugging there, and `adb devices` must list it",
    "not found": "no such phone is connected; `adb devices` lists those that are",
    "offline": "the phone is offline; unplug it and plug it in again",
}
_HOW_TO = (
    "download android_aarch64_benchmark_model (docs/devices.md says where), `adb push` it there and `adb shell chmod "
    "+x` it, or say where it is in OFA_BENCHMARK_MODEL"
)


@dataclass(frozen=True)
class AdbLink:
    """See ``remote.Link``. ``serial`` is ``None`` for the only phone there is."""

    serial: str | None

    def environment(self, *, threads: int) -> dict[str, Any]:
        program = _program()
        serial = self._adb("get-serialno")
        query = "; ".join(f"getprop {name}" for name in (*_PROPERTIES, "ro.build.version.release"))
        *names, system = [line.strip() for line in self._shell(query).split("\n")]
        digest = self._shell(f"test -x {shlex.quote(program)} && sha256sum {shlex.quote(program)} || echo none")
        if not re.match(r"[0-9a-f]{64}\b", digest):
            raise RemoteError(f"{program} is not on the phone, or cannot be run: {_HOW_TO}")
        return {
            "runtime": "litert",
            "version": f"benchmark_model {digest[:12]}",
            "threads": threads,
            "cpu": " ".join(filter(None, names)) or "unknown",
            "device": f"adb:{serial}",
            "system": f"Android {system}",
        }

    def rounds(self, plan: Plan, numbers: Sequence[int]) -> Iterator[Round]:
        names = plan.names()
        # By the models, so that what a lost connection leaves there is used again, and removed at the end.
        folder = f"{_FOLDER}/ofa-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"
        try:
            self._shell(f"mkdir -p {folder}")
            with tempfile.TemporaryDirectory() as here:
                paths = [Path(here, name) for name in names]
                for path, model in zip(paths, plan.models, strict=True):
                    path.write_bytes(model)
                self._adb("push", *map(str, dict.fromkeys(paths)), f"{folder}/")
            for number in numbers:
                yield self._round(plan, number, [f"{folder}/{name}" for name in names])
            self._shell(f"rm -rf {folder}")
        except _PhoneGone as error:
            raise DeviceLost(str(error)) from error

    def _round(self, plan: Plan, number: int, files: list[str]) -> Round:
        """A process a model gives both its first inference in it (cold) and its later ones (warm)."""
        found: dict[int, tuple[float, float]] = {}
        references = []
        order = list(dict.fromkeys(plan.calls[index][0] for index in plan.order(number)))
        for place, model in enumerate(order):
            found[model] = self._benchmark(files[model], plan.threads)
            if plan.reference is not None and place % REFERENCE_EVERY == 0:
                references.append(self._benchmark(files[plan.calls[plan.reference][0]], plan.threads)[1])
        reference_ns = sorted(references)[len(references) // 2] if references else None
        return Round(number, [found[model][0 if cold else 1] for model, cold in plan.calls], reference_ns)

    def _benchmark(self, file: str, threads: int) -> tuple[float, float]:
        """Nanoseconds of the first inference and of the mean later one."""
        output = self._shell(f"{shlex.quote(_program())} --graph={file} --num_threads={threads} {_FLAGS} 2>&1")
        result = _RESULT.search(output)
        times = [_number(text) for text in result.groups()] if result else []
        if not times or not all(time >= 0 for time in times):
            last = (output.strip().splitlines() or ["it printed nothing"])[-1]
            raise RemoteError(f"benchmark_model on the phone could not time a model: {last}")
        return 1e3 * times[0], 1e3 * times[1]

    def _shell(self, command: str) -> str:
        return self._adb("shell", command)

    def _adb(self, *words: str) -> str:
        done = self._call(*words)
        if done.returncode == 0:
            return done.stdout.replace("\r", "").strip()
        last = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        state = self._call("get-state")
        if state.returncode == 0 and state.stdout.strip() == "device":
            raise RemoteError(f"`adb {words[0]}` failed on the phone: {last}")
        message = f"{state.stdout} {state.stderr} {last}"
        raise _PhoneGone(next((remedy for sign, remedy in _REMEDIES.items() if sign in message), f"adb says: {last}"))

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["adb", *(["-s", self.serial] if self.serial else []), *words]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        try:
            return subprocess.run(command, **pipes, text=True, errors="replace", timeout=_TIMEOUT_SECONDS, check=False)
        except FileNotFoundError as error:
            raise RemoteError("adb is not installed here: apt-get install adb") from error
        except subprocess.TimeoutExpired as error:
            raise _PhoneGone(f"the phone did not answer for {_TIMEOUT_SECONDS} s") from error


class _PhoneGone(RemoteError):
    """Adb cannot talk to the phone."""


def _program() -> str:
    return os.environ.get("OFA_BENCHMARK_MODEL") or f"{_FOLDER}/benchmark_model"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
