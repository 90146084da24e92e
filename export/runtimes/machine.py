"""What a measured time depends on, beside the runtime."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cpu_name() -> str:
    """The processor's model as the system names it."""
    if CPUINFO.exists():
        for line in CPUINFO.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def has_vnni() -> bool | None:
    """Whether this x86 processor multiplies 8-bit numbers without saturating sums at 16 bits; None: it is no x86."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686", "x86"):
        return None
    flags = CPUINFO.read_text(errors="replace").lower() if CPUINFO.exists() else ""
    return "vnni" in flags
