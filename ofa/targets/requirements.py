"""Whether what the targets' runtimes need is installed, asked before anything starts: a run may take days."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec

from ofa.config.target import CORTEX_M, MICROCONTROLLERS, Target
from ofa.errors import UserError
from ofa.export.microcontroller.build import missing_tools

# Packages by the extra of ours that installs them.
_TFLITE = {"flatbuffers": "tflite", "ai_edge_litert": "tflite"}
_PACKAGES: dict[str, dict[str, str]] = {
    "litert": _TFLITE,
    "tflm": {**_TFLITE, "tflite_micro": "mcu"},
    **{runtime: {**_TFLITE, "tflite_micro": "mcu", "bakenn": "mcu"} for runtime in CORTEX_M},
}
# What a runtime is, and the distribution whose version counts.
_ABOUT = {
    "onnxruntime": ("CPUs, .onnx, float32 and int8, timed", "onnxruntime"),
    "torch": ("CPUs, the timm model itself, float32, timed", "torch"),
    "litert": ("phones and boards, .tflite, float32 and int8, timed here, over ssh or adb", "ai-edge-litert"),
    "tflm": ("TensorFlow Lite Micro, int8 .tflite, activation memory", "tflite-micro"),
    "cortex_m4": ("int8 C with CMSIS-NN, RAM, flash and instructions under QEMU", "bakenn"),
    "cortex_m55": ("the same with its vector instructions", "bakenn"),
}
_INT8 = {"ai_edge_quantizer": "tflite"}
_REMOTE_PROGRAMS = {"ssh": "openssh-client", "adb": "adb"}


def check_installed(targets: Mapping[str, Target]) -> None:
    """Raises ``UserError`` with the line that installs what a target lacks."""
    for name, target in targets.items():
        needs = {**_PACKAGES.get(target.runtime, {}), **(_INT8 if _quantises(target) else {})}
        if line := _pip_line(needs):
            raise UserError(f"targets.{name}: the runtime {target.runtime} needs more packages: {line}")
        program = (target.remote or "").partition(":")[0]
        if program and shutil.which(program) is None:
            line = f"apt-get install {_REMOTE_PROGRAMS[program]}"
            raise UserError(f"targets.{name}: {target.remote} needs the program {program}: {line}")
        if "instructions" in {limit.cost for limit in target.limits} and (lacking := missing_tools()):
            raise UserError(f"targets.{name}: instructions of {target.runtime} cannot be counted: {lacking}")


def runtime_lines() -> list[str]:
    """A line for each runtime: what it is, what a target can limit there, and its version or what it lacks."""
    lines = []
    for runtime, (about, package) in _ABOUT.items():
        needs = {**_PACKAGES.get(runtime, {}), **(_INT8 if runtime in MICROCONTROLLERS else {})}
        lacks = [_pip_line(needs), missing_tools() if runtime in CORTEX_M else None]
        state = f"needs: {'; '.join(filter(None, lacks))}" if any(lacks) else f"{package} {version(package)}"
        lines.append(f"{runtime:<12} {about}; {state}")
    return lines


def _pip_line(needs: Mapping[str, str]) -> str | None:
    extras = sorted({extra for package, extra in needs.items() if find_spec(package) is None})
    return f"pip install 'once-for-all[{','.join(extras)}]'" if extras else None


def _quantises(target: Target) -> bool:
    return target.bits == 8 and target.runtime != "onnxruntime"
