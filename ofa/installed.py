"""Whether what the targets' runtimes need is installed, asked before anything starts: a run may take days."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec

from ofa.errors import UserError
from ofa.recipe_target import CORTEX_M, Target

# Packages by the extra of ours that installs them.
_TFLITE = {"flatbuffers": "tflite", "ai_edge_litert": "tflite"}
_PACKAGES: dict[str, dict[str, str]] = {
    "litert": _TFLITE,
    "tflm": {**_TFLITE, "tflite_micro": "mcu"},
    **{runtime: {**_TFLITE, "tflite_micro": "mcu", "bakenn": "mcu"} for runtime in CORTEX_M},
}
_INT8 = {"ai_edge_quantizer": "tflite"}
_PROGRAMS = {"arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi", "qemu-system-arm": "qemu-system-arm"}


def check_installed(targets: Mapping[str, Target]) -> None:
    """Raises ``UserError`` with the line that installs what a target lacks."""
    for name, target in targets.items():
        needs = {**_PACKAGES.get(target.runtime, {}), **(_INT8 if _quantises(target) else {})}
        extras = sorted({extra for package, extra in needs.items() if find_spec(package) is None})
        if extras:
            line = f"pip install 'once-for-all[{','.join(extras)}]'"
            raise UserError(f"targets.{name}: the runtime {target.runtime} needs more packages: {line}")
        limited = {limit.cost for limit in target.limits} & {"sram", "instructions"}
        missing = [program for program in _PROGRAMS if shutil.which(program) is None]
        if target.runtime in CORTEX_M and limited and missing:
            raise UserError(
                f"targets.{name}: {' and '.join(sorted(limited))} of {target.runtime} are measured with "
                f"{' and '.join(missing)}: apt-get install {' '.join(_PROGRAMS[program] for program in missing)}"
            )


def _quantises(target: Target) -> bool:
    return target.bits == 8 and target.runtime != "onnxruntime"
