"""A board or computer over ssh: models and ``runner.py`` go there through one connection, rounds come back.

Users, ports, keys and jumps are ``~/.ssh/config``'s. ``OFA_REMOTE_PYTHON`` names the Python there, else ``python3``.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from ofa.export.runtimes.remote import runner
from ofa.export.runtimes.remote.link import DeviceLost, RemoteError
from ofa.export.runtimes.remote.rounds import Plan, Round
from ofa.export.runtimes.timing import MAX_CALLS, MIN_CALLS, REFERENCE_EVERY, SECONDS

_OPTIONS = {"BatchMode": "yes", "ConnectTimeout": 15, "ServerAliveInterval": 10, "ServerAliveCountMax": 3}
_NO_PYTHON = 97  # exit status of _SCRIPT, which no part of it has by itself
_SSH_FAILED = 255
_OUT_OF_MEMORY = 128 + 9
_KILLED = 128  # and above: a signal's number is added; also ssh's own failure
_SCRIPT = """\
command -v {python} >/dev/null || exit {no_python}
d=$(mktemp -d "${{TMPDIR:-/tmp}}/ofa-XXXXXX") || exit 1
trap 'rm -rf "$d"' EXIT
trap 'exit 1' HUP INT TERM PIPE
tar -xf - -C "$d" && {python} "$d/runner.py" "$d/job.json"
"""
# A part of what ssh says, and what to do about it.
_REMEDIES = {
    "Could not resolve": "{host} is not a known host; check the name, or its entry in ~/.ssh/config",
    "Host key verification failed": "{host} has an unknown or changed host key; connect once with `ssh {host}`, and "
    "accept it if it is right",
    "Permission denied": "{host} refuses your key; `ssh-copy-id {host}` puts it there, and `ssh {host}` must then work "
    "without a password",
    "Connection refused": "{host} refuses connections; start sshd there, or check the port in ~/.ssh/config",
    "timed out": "{host} does not answer; is it on, and in this network?",
    "No route to host": "{host} does not answer; is it on, and in this network?",
}


@dataclass(frozen=True)
class SshLink:
    """See ``remote.Link``."""

    host: str

    def environment(self, *, threads: int) -> dict[str, Any]:
        with _connected(self.host, {"threads": threads, "models": []}, {}) as connection:
            environments = [values["environment"] for values in connection.lines() if "environment" in values]
            if not environments:
                raise RemoteError(connection.error_message())
        return {**environments[0], "device": f"ssh:{self.host}"}

    def rounds(self, plan: Plan, numbers: Sequence[int]) -> Iterator[Round]:
        names = plan.names()
        job = {
            "threads": plan.threads,
            "models": [{"file": name, "shape": shape} for name, shape in zip(names, plan.shapes, strict=True)],
            "calls": plan.calls,
            "rounds": [[number, plan.order(number)] for number in numbers],
            "reference": plan.reference,
            "every": REFERENCE_EVERY,
            "seconds": SECONDS,
            "fewest": MIN_CALLS,
            "most": MAX_CALLS,
        }
        missing, started = set(numbers), False
        with _connected(self.host, job, dict(zip(names, plan.models, strict=True))) as connection:
            for values in connection.lines():
                started = started or "environment" in values
                if "round" in values:
                    missing.discard(values["round"])
                    yield Round(values["round"], values["ns"], values["pace"])
            if missing:
                lost = started and not 0 <= connection.process.wait() < _KILLED
                raise (DeviceLost if lost else RemoteError)(connection.error_message())


@dataclass(frozen=True)
class _Connection:
    """An ssh process that was given files and runs the runner among them, and where its errors go."""

    host: str
    python: str
    process: subprocess.Popen[str]
    errors: IO[bytes]

    def lines(self) -> Iterator[dict[str, Any]]:
        """What the runner says, until the host has removed its files; lines of login scripts are left out.

        Raises ``RemoteError`` for the runner's errors.
        """
        problem = ""
        for line in self.process.stdout:
            if not line.startswith(runner.MARK) or not line.endswith("\n"):
                continue
            values = json.loads(line.removeprefix(runner.MARK))
            if "missing" in values:
                problem = (
                    f"{self.host} has no LiteRT for its {self.python} ({values['missing']} is missing): run there "
                    f"`{self.python} -m pip install ai-edge-litert`, or name another Python in OFA_REMOTE_PYTHON"
                )
            elif "error" in values:
                problem = f"{self.host}: {values['error']}{_version_here()}"
            else:
                yield values
        if problem:
            raise RemoteError(problem)

    def error_message(self) -> str:
        """Why it ended early."""
        status = self.process.wait()
        self.errors.seek(0)
        stderr = [line.strip() for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
        stderr = [line for line in stderr if not line.startswith(("INFO:", "Warning:"))]
        if status == _NO_PYTHON:
            return f"{self.host} has no {self.python}; install it there, or name another one in OFA_REMOTE_PYTHON"
        if status == _SSH_FAILED:
            for sign, remedy in _REMEDIES.items():
                if any(sign in line for line in stderr):
                    return remedy.format(host=self.host)
        if status == _OUT_OF_MEMORY:
            stderr.append("the measurement was killed there, perhaps for lack of memory")
        return f"{self.host}: {stderr[-1] if stderr else f'exit status {status}'}"


@contextmanager
def _connected(host: str, job: dict[str, Any], models: dict[str, bytes]) -> Iterator[_Connection]:
    python = os.environ.get("OFA_REMOTE_PYTHON") or "python3"
    script = _SCRIPT.format(python=shlex.quote(python), no_python=_NO_PYTHON)
    options = [f"-o{name}={value}" for name, value in _OPTIONS.items()]
    command = ["ssh", "-T", *options, "--", host, f"sh -c {shlex.quote(script)}"]
    # Files rather than pipes: neither side can then wait for the other to read.
    with tempfile.TemporaryFile() as content, tempfile.TemporaryFile() as errors:
        _write_tar(content, job, models)
        content.seek(0)
        try:
            process = subprocess.Popen(
                command, stdin=content, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace"
            )
        except FileNotFoundError as error:
            raise RemoteError("ssh is not installed here: apt-get install openssh-client") from error
        try:
            yield _Connection(host, python, process, errors)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()


def _write_tar(file: IO[bytes], job: dict[str, Any], models: dict[str, bytes]) -> None:
    program = Path(runner.__file__).read_bytes()
    with tarfile.open(mode="w", fileobj=file) as tar:
        for name, content in {"runner.py": program, "job.json": json.dumps(job).encode(), **models}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _version_here() -> str:
    try:
        return f" (here it is {version('ai-edge-litert')})"
    except PackageNotFoundError:
        return ""
