"""Builds the C that ``export_c`` wrote with the folder's own Makefile, and runs it under qemu-system-arm."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ofa.export.runtimes import RUNTIMES

_MAX_LINES = 6  # of a failed compiler's output


class Cpu(NamedTuple):
    """A processor that programs are built for.

    Attributes:
        name: the Makefile's CPU.
        machine: the board that QEMU emulates.
        emulated: the processor of that board.
        variant: that of ``microcontroller.sources`` that the preprocessor chooses for it.
    """

    name: str
    machine: str
    emulated: str
    variant: str


# The processors that every export measures, and that a recipe's target may be.
CPUS = {
    "cortex_m4": Cpu("cortex-m4", "mps2-an386", "cortex-m4", "cortex-m4"),
    "cortex_m55": Cpu("cortex-m55", "mps3-an547", "cortex-m55", "cortex-m55"),
}
# All that the Makefile knows. Some are emulated as a larger processor, which runs the same code.
PROCESSORS = CPUS | {
    "cortex_m0plus": Cpu("cortex-m0plus", "mps2-an385", "cortex-m3", "cortex-m4"),
    "cortex_m3": Cpu("cortex-m3", "mps2-an385", "cortex-m3", "cortex-m4"),
    "cortex_m7": Cpu("cortex-m7", "mps2-an500", "cortex-m7", "cortex-m4"),
    "cortex_m23": Cpu("cortex-m23", "mps2-an505", "cortex-m33", "cortex-m4"),
    "cortex_m33": Cpu("cortex-m33", "mps2-an505", "cortex-m33", "cortex-m4"),
    "cortex_m85": Cpu("cortex-m85", "mps3-an547", "cortex-m55", "cortex-m55"),
}

# Variables that the Makefile reads. Those of the shell are not meant for it: conda sets CFLAGS for this
# computer.
_NOT_FOR_MAKE = {
    *("MAKEFLAGS", "MAKEOVERRIDES", "MAKEFILES", "MAKELEVEL", "GNUMAKEFLAGS", "CFLAGS", "LDFLAGS", "LDLIBS", "DEFINES"),
    *("PROFILE", "CPU", "OUT", "LIBRARY", "BOARD", "BOARD_LD", "COMPILER_PATH", "C_INCLUDE_PATH", "CPATH"),
}


class Sizes(NamedTuple):
    """Bytes of a program without the stored examples.

    ``flash`` is code, constants and initial data; ``data`` the static RAM, with arena, input and output.
    """

    flash: int
    data: int


@dataclass(frozen=True)
class Output:
    """The numbers that a program printed, by name, in order."""

    numbers: dict[str, list[int]]

    def one(self, name: str) -> int:
        """The first number of this name."""
        return self.numbers[name][0]


def missing_tools() -> str | None:
    """A sentence that names the programs that are not installed and the command that installs them; None if none."""
    return RUNTIMES["cortex_m4"].missing_tools()


def build(folder: Path, *, cpu: str, out: str | None = None, options: Sequence[str] = (), timeout: float = 600) -> Path:
    """Builds an ``export_c`` folder for ``cpu`` (a key of ``PROCESSORS``); returns the program.

    ``out`` is the sub-folder to build in, and ``options`` are further arguments of make. ``timeout`` is in
    seconds.

    Raises ``ValueError`` with the apt line when a tool is missing, and with the compiler's message when it
    fails.
    """
    absent = missing_tools()
    if absent:
        raise ValueError(absent)
    out = out or _build_folder(cpu)

    # All models share the objects of CMSIS-NN. A link, because make does not support paths with spaces.
    library = Path(folder) / _build_folder(cpu) / "library"
    library.parent.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        library.symlink_to(_shared_library(cpu), target_is_directory=True)

    command = ["make", "-C", str(folder), f"CPU={PROCESSORS[cpu].name}", f"OUT={out}", *options]
    result = _run(command, timeout=timeout, what=f"building {folder} for {cpu}", remedy="")
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        overflow = [line for line in lines if "overflowed by" in line]
        if overflow:
            raise ValueError(
                f"the program for {cpu} does not fit the memory of {PROCESSORS[cpu].machine}: "
                f"{overflow[0].rpartition(': ')[2]}; take a smaller subnet or resolution, or fewer images at once"
            )
        errors = [line for line in lines if "error" in line.lower()] or lines
        raise ValueError(f"building {folder} for {cpu} failed; the compiler says:\n" + "\n".join(errors[:_MAX_LINES]))
    return Path(folder) / out / "model"


def _build_folder(cpu: str) -> str:
    """The sub-folder to build in, relative to the model's folder, whose own path may have spaces."""
    return f"build-{PROCESSORS[cpu].name}"


@cache
def _shared_library(cpu: str) -> str:
    """A folder for the objects of CMSIS-NN, shared by all models and removed when this process ends."""
    path = tempfile.mkdtemp(prefix=f"ofa-{cpu}-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def run(folder: Path, *, cpu: str, out: str | None = None, timeout: float = 600) -> Output:
    """Runs a program that ``build`` made, under QEMU.

    Raises ``ValueError`` when it faults or does not end in ``timeout`` seconds.
    """
    command = ["make", "-s", "-C", str(folder), f"CPU={PROCESSORS[cpu].name}", f"OUT={out or _build_folder(cpu)}"]
    command.append("check")
    what = f"running {folder} on {PROCESSORS[cpu].machine} under qemu-system-arm"
    result = _run(command, timeout=timeout, what=what, remedy="; give it more time, or fewer images at once")

    # QEMU's semihosting writes to either stream.
    output = result.stdout + result.stderr
    numbers: dict[str, list[int]] = {}
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        if value.lstrip("-").isdigit():
            numbers.setdefault(name, []).append(int(value))
    if "stack" not in numbers:  # the last line that a program prints
        raise ValueError(f"{what} stopped before its end: {' '.join(output.split())[-500:]}")
    return Output(numbers)


def sizes(program: Path) -> Sizes:
    """The memory that a built program needs. Raises ``ValueError`` when it is no ELF file."""
    result = _run(["arm-none-eabi-size", "-A", str(program)], timeout=60, what=f"reading {program}", remedy="")
    sections: dict[str, int] = {}
    for line in result.stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[0].startswith(".") and words[1].isdigit():
            sections[words[0]] = int(words[1])
    if ".text" not in sections:
        raise ValueError(f"{program} is no program for Cortex-M: {result.stderr.strip()}")
    flash = sum(sections.get(name, 0) for name in (".vectors", ".text", ".rodata", ".data"))
    return Sizes(flash, sections.get(".data", 0) + sections.get(".bss", 0))


def _run(command: list[str], *, timeout: float, what: str, remedy: str) -> subprocess.CompletedProcess[str]:
    """Runs a command; ``what`` and ``remedy`` are the beginning and the end of the error when it takes too long."""
    # In a process group of its own, so that a QEMU that hangs ends with make.
    process = subprocess.Popen(
        command,
        env={name: value for name, value in os.environ.items() if name not in _NOT_FOR_MAKE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise ValueError(f"{what} took longer than {timeout:g} seconds{remedy}") from error
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
