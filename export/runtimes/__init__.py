"""The runtimes: one file each, with the same calls (load, run, bind, convert ...), and the one table of their facts.

``RUNTIMES`` is what recipes, ``ofa check``, ``ofa runtimes``, reports and cards know of a runtime. It imports none of
them, so that a recipe is checked without their packages. ``docs/extending.md`` says what a new one needs.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Literal

Precision = Literal["float32", "int8"]
# What a target's model is: timm's own module with its weights; a file; or C that was made of a TFLite file.
# ``tflite`` is laid out for XNNPACK, ``tflite_micro`` for an interpreter with one kernel an operator.
ModelFormat = Literal["timm", "onnx", "tflite", "tflite_micro", "c"]

_TFLITE = {"flatbuffers": "tflite", "ai_edge_litert": "tflite"}
_TFLITE_INT8 = {"ai_edge_quantizer": "tflite"}
_ARM_TOOLS = ("make", "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm")
_ARM_INSTALL = "apt-get install make gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
# Microcontroller kernels are written for these alone.
_MICRO_OPERATORS = frozenset({"conv", "relu", "relu6"})


@dataclass(frozen=True, kw_only=True)
class RuntimeSpec:
    """The facts of a runtime.

    Attributes:
        module: import name; what its calls are is in ``onnxruntime.py``, the plainest one.
        name: what people call it.
        about: what it is for, a few words.
        format: what a target's model is.
        precisions: those that it runs; a target that names none has the first.
        measures: names of the costs (``ofa.predictors.costs.names``) that are measured on it. One that measures
            ``latency`` can be timed; the others run int8 programs of microcontrollers.
        distribution: the Python distribution whose version counts.
        packages: import names of what it needs, and the extra of ours that installs each.
        int8_packages: what making its int8 models needs beside them.
        tools, tools_install: programs that measure its ``tool_costs``, and the line that installs them.
        tool_costs: costs that cannot even be estimated without the ``tools``.
        remote: whether it can be timed on another device, over ssh or adb.
        operators: all that it can run of a space's ``operators``; ``None``: whatever torch can.
        scored_by: the runtime that accuracy is measured in, when it is another one.
    """

    module: str
    name: str
    about: str
    format: ModelFormat
    precisions: tuple[Precision, ...]
    measures: tuple[str, ...]
    distribution: str
    packages: Mapping[str, str] = field(default_factory=dict)
    int8_packages: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    tools_install: str = ""
    tool_costs: tuple[str, ...] = ()
    remote: bool = False
    operators: frozenset[str] | None = None
    scored_by: str | None = None

    @property
    def has_latency(self) -> bool:
        """Whether it can be timed."""
        return "latency" in self.measures

    def missing_tools(self) -> str | None:
        """A sentence that names the tools that are not installed, and what installs them; ``None`` if all are."""
        absent = [tool for tool in self.tools if shutil.which(tool) is None]
        return f"{', '.join(absent)} not found: {self.tools_install}" if absent else None

    def load_module(self) -> ModuleType:
        """Its module. Raises ``ValueError`` or ``ImportError`` that says what is not installed."""
        return import_module(self.module)


def _cortex_m(module: str, *, name: str, about: str) -> RuntimeSpec:
    return RuntimeSpec(
        module=module,
        name=name,
        about=about,
        format="c",
        precisions=("int8",),
        measures=("instructions", "sram", "flash"),
        distribution="bakenn",
        packages={**_TFLITE, "tflite_micro": "mcu", "bakenn": "mcu"},
        int8_packages=_TFLITE_INT8,
        tools=_ARM_TOOLS,
        tools_install=_ARM_INSTALL,
        tool_costs=("instructions",),
        operators=_MICRO_OPERATORS,
        scored_by="tflm",  # an emulated processor is slow; its program must give the same bytes on some images
    )


RUNTIMES: dict[str, RuntimeSpec] = {
    "onnxruntime": RuntimeSpec(
        module="ofa.export.runtimes.onnxruntime",
        name="ONNX Runtime",
        about="CPUs, .onnx",
        format="onnx",
        precisions=("float32", "int8"),
        measures=("latency",),
        distribution="onnxruntime",
    ),
    "torch": RuntimeSpec(
        module="ofa.export.runtimes.torch",
        name="PyTorch",
        about="CPUs, the timm model itself",
        format="timm",
        precisions=("float32",),
        measures=("latency",),
        distribution="torch",
    ),
    "litert": RuntimeSpec(
        module="ofa.export.runtimes.litert",
        name="LiteRT",
        about="phones and boards, .tflite",
        format="tflite",
        precisions=("float32", "int8"),
        measures=("latency",),
        distribution="ai-edge-litert",
        packages=_TFLITE,
        int8_packages=_TFLITE_INT8,
        remote=True,
    ),
    "tflm": RuntimeSpec(
        module="ofa.export.runtimes.tflm",
        name="TensorFlow Lite Micro",
        about="microcontrollers, .tflite",
        format="tflite_micro",
        precisions=("int8",),
        measures=("sram", "flash"),
        distribution="tflite-micro",
        packages={**_TFLITE, "tflite_micro": "mcu"},
        int8_packages=_TFLITE_INT8,
        operators=_MICRO_OPERATORS,
    ),
    "cortex_m4": _cortex_m(
        "ofa.export.runtimes.cortex_m4", name="Cortex-M4", about="C with CMSIS-NN, counted under QEMU"
    ),
    "cortex_m55": _cortex_m(
        "ofa.export.runtimes.cortex_m55", name="Cortex-M55", about="the same with its vector instructions"
    ),
}


def runtimes_with(cost: str) -> tuple[str, ...]:
    """The names of the runtimes that measure a cost."""
    return tuple(name for name, spec in RUNTIMES.items() if cost in spec.measures)
