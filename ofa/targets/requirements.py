"""Whether what the targets' runtimes need is installed, asked before anything starts: a run may take days."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec

from ofa.config.target import Target
from ofa.errors import UserError
from ofa.export.runtimes import RUNTIMES

# Programs that reach another device, and the Debian package of each.
_REMOTE_PROGRAMS = {"ssh": "openssh-client", "adb": "adb"}


def check_installed(targets: Mapping[str, Target]) -> None:
    """Raises ``UserError`` with the line that installs what a target lacks."""
    for name, target in targets.items():
        spec = target.spec
        if line := pip_line({**spec.packages, **(spec.int8_packages if target.bits == 8 else {})}):
            raise UserError(f"targets.{name}: the runtime {target.runtime} needs more packages: {line}")
        program = (target.remote or "").partition(":")[0]
        if program and shutil.which(program) is None:
            line = f"apt-get install {_REMOTE_PROGRAMS[program]}"
            raise UserError(f"targets.{name}: {target.remote} needs the program {program}: {line}")
        for limit in target.limits:
            if limit.cost in spec.tool_costs and (lacking := spec.missing_tools()):
                raise UserError(f"targets.{name}: {limit.cost} of {target.runtime} cannot be counted: {lacking}")


def runtime_lines() -> list[str]:
    """A line for each runtime: what it is, its precisions, what is measured on it, and its version or what it lacks."""
    lines = []
    for name, spec in RUNTIMES.items():
        needed = {**spec.packages, **(spec.int8_packages if spec.precisions == ("int8",) else {})}
        lacks = [text for text in (pip_line(needed), spec.missing_tools()) if text]
        state = f"needs: {'; '.join(lacks)}" if lacks else f"{spec.distribution} {version(spec.distribution)}"
        where = " here, over ssh or adb" if spec.remote else ""
        facts = f"{', '.join(spec.precisions)}; {', '.join(spec.measures)}{where}"
        lines.append(f"{name:<12} {spec.about}; {facts}; {state}")
    return lines


def pip_line(needs: Mapping[str, str]) -> str | None:
    """The line that installs the extras of the import names ``needs`` that are not here; ``None`` when all are."""
    extras = sorted({extra for package, extra in needs.items() if find_spec(package) is None})
    return f"pip install 'once-for-all[{','.join(extras)}]'" if extras else None
