"""Commands in processes of their own that import nothing: importing torch takes longer than most of them.

One process does that once. Every line that it reads forks a process which forks the command, waits for it, and writes
down its exit code.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

_SERVER = """
import json, os, signal, sys, traceback
{imports}
import ofa.pipeline.job, ofa.stages.export
from ofa.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the watchers

def command(arguments, folder, cwd):
    os.chdir(cwd)
    for number, name in ((0, os.devnull), (1, "out"), (2, "err")):
        os.dup2(os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    code = 0
    try:
        main(arguments)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)  # threads that the libraries began before the fork are not there to be ended

for line in sys.stdin:
    watcher = os.fork()
    if watcher == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            command(**request)
        print(child, flush=True)
        code = os.path.join(request["folder"], "code")
        with open(code + ".new", "w") as file:
            file.write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
        os.replace(code + ".new", code)
        os._exit(0)
"""


class Command:
    """As ``subprocess.Popen`` of a command whose output is text."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid, self.returncode, self._folder = pid, None, folder

    def poll(self) -> int | None:
        path = self._folder / "code"
        if self.returncode is None and path.exists():
            self.returncode = int(path.read_text())
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self._folder), timeout)
            time.sleep(0.003)
        return self.returncode

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        self.wait(timeout)
        return (self._folder / "out").read_text(), (self._folder / "err").read_text()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@contextmanager
def forked_commands(folder: Path, *, imports: str = "", paths: tuple[Path, ...] = ()):
    """``start(*arguments, cwd=)``: the command ``ofa``. ``imports`` are lines of Python before it is imported."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([*map(str, paths), *known])}
    program = [sys.executable, "-c", _SERVER.replace("{imports}", imports)]
    server = subprocess.Popen(program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    number = 0

    def start(*arguments: object, cwd: Path = folder) -> Command:
        nonlocal number
        number += 1
        own = folder / f"command-{number}"
        own.mkdir()
        request = {"arguments": [*map(str, arguments)], "folder": str(own), "cwd": str(cwd)}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return Command(int(server.stdout.readline()), own)

    yield start
    server.stdin.close()
    assert server.wait(timeout=60) == 0
