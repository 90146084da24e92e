"""The section ``targets:`` of a recipe: where a network shall run, and what it may cost there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, model_serializer

from ofa.config.errors import Problem
from ofa.config.export import OnnxConfig, TfliteConfig, export_problems
from ofa.config.train import FinetuneConfig
from ofa.config.types import Absolute, Section, real, reserved
from ofa.export.runtimes.remote.connect import valid_address
from ofa.supernet.space import SearchSpace

if TYPE_CHECKING:
    from ofa.predictors.costs.cost_table import CostTable

TIMED_RUNTIMES = ("onnxruntime", "torch", "litert")  # runtimes that are timed
REMOTE = ("litert",)  # those that can be timed on another device
CORTEX_M = ("cortex_m4", "cortex_m55")  # microcontrollers, whose instructions are counted
MICROCONTROLLERS = ("tflm", *CORTEX_M)
# Limits that only some runtimes can be held to.
_ONLY = {"latency": TIMED_RUNTIMES, "instructions": CORTEX_M, "sram": MICROCONTROLLERS}

Cost = Literal["latency", "macs", "params", "sram", "flash", "instructions"]


@dataclass(frozen=True)
class Limit:
    """The most that a subnet may cost, in ms, MACs, parameters, bytes or instructions, or when ``relative`` a share
    of the largest subnet's cost: ``Limit("latency", 0.5, True)`` is half of its latency.
    """

    cost: Cost
    value: float
    relative: bool

    def absolute(self, table: CostTable) -> float:
        """The most in the unit of the cost's ``table``."""
        if not self.relative:
            return self.value
        return self.value * float(table.predict(table.space.encode(table.space.largest)[None])[0])


def _fraction(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and _share(value)):
        return value
    example = f"{value}x" if isinstance(value, int | float) and 0 < value <= 1 else "0.5x"
    raise ValueError(f"must be a share of the largest subnet's latency such as {example}; milliseconds are latency_ms")


def _amount(value: Any) -> float | str | None:
    if value is None or (isinstance(value, str) and _share(value)):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and _MIN <= value <= _MAX:
        return float(value)
    raise ValueError("must be a positive number such as 5e6, or a share of the largest subnet's cost such as 0.5x")


def _address(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and valid_address(value)):
        return value
    raise ValueError("must be ssh:HOST, adb or adb:SERIAL")


def _share(text: str) -> float | None:
    """``"0.5x"`` as 0.5; ``None`` when it is not a share above 0x and up to 1x."""
    found = re.fullmatch(r"([0-9]{0,20}\.?[0-9]{1,20}|[0-9]{1,20}\.)x", text)
    return float(found[1]) if found and _MIN <= float(found[1]) <= 1 else None


_MIN, _MAX = 1e-6, 1e18  # of a limit, in any unit
MAX_TARGET_NAME = 60


def _target_name(value: str) -> str:
    if re.fullmatch(r"[a-z0-9_-]+", value) is None or value.startswith("-"):
        raise ValueError("must match pattern a-z, 0-9, _ and -, and not begin with -")
    if len(value) > MAX_TARGET_NAME:
        raise ValueError(f"must have at most {MAX_TARGET_NAME} characters, not {len(value)}")
    if reserved(value):
        raise ValueError("is a device's name on Windows, which no folder can have there")
    return value


TargetName = Annotated[str, AfterValidator(_target_name)]
_Amount = Annotated[float | str | None, PlainValidator(_amount)]
# Key of a recipe: the cost it limits, and how much of its unit one is.
_KEYS: dict[str, tuple[Cost, float]] = {
    "latency_ms": ("latency", 1.0),
    "sram_kb": ("sram", 1024.0),
    "flash_kb": ("flash", 1024.0),
}


class LimitsConfig(Section):
    """Limits as a recipe writes them: ``latency_ms: 0.8``, ``latency: 0.5x``, ``macs: 5e6``, ``params: 0.3x``,
    ``flash_kb: 256`` (weights), and on microcontrollers ``sram_kb: 64`` and ``instructions: 40e6``."""

    latency_ms: real(_MIN, 1e9) | None = None
    latency: Annotated[str | None, PlainValidator(_fraction)] = None
    macs: _Amount = None
    params: _Amount = None
    sram_kb: _Amount = None
    flash_kb: _Amount = None
    instructions: _Amount = None

    @model_serializer
    def _given(self) -> dict[str, Any]:
        return {key: value for key, value in self if value is not None}


class Target(Section):
    """One device: its runtime and precision, its limits, and whether its network is trained further.

    ``precision`` is ``float32`` unless the runtime is a microcontroller's, which has int8 alone. An int8 model that
    loses more than ``int8_drop`` of accuracy is quantised again with remedies, and flagged when none helps.
    ``remote`` is the device that LiteRT is timed on when that is not this machine: ``ssh:HOST``, ``adb``,
    ``adb:SERIAL``. ``costs``: a file of latencies measured elsewhere, not timed (see ``ofa.targets.own_costs``).
    ``onnx`` and ``tflite`` say what the model files look like.
    """

    runtime: Literal["onnxruntime", "torch", "litert", "tflm", "cortex_m4", "cortex_m55"] = "onnxruntime"
    precision: Literal["float32", "int8"] | None = None
    int8_drop: real(0, 0.99) = 0.01
    finetune: FinetuneConfig | None = None
    written: LimitsConfig = Field(alias="limits")
    remote: Annotated[str | None, PlainValidator(_address)] = None
    costs: Absolute | None = None
    onnx: OnnxConfig = OnnxConfig()
    tflite: TfliteConfig = TfliteConfig()

    @property
    def bits(self) -> Literal[32, 8]:
        """Of a weight or activation on the device."""
        wished = self.precision or ("int8" if self.runtime in MICROCONTROLLERS else "float32")
        return 8 if wished == "int8" else 32

    @property
    def limits(self) -> tuple[Limit, ...]:
        limits = []
        for key, value in self.written.model_dump().items():
            cost, unit = _KEYS.get(key, (key, 1.0))
            relative = isinstance(value, str)
            limits.append(Limit(cost, _share(value) if relative else value * unit, relative))
        return tuple(limits)


def target_problems(name: str, target: Target, space: SearchSpace) -> list[Problem]:
    """What of a target contradicts itself, or the space."""
    where, costs = f"targets.{name}", [limit.cost for limit in target.limits]
    problems = export_problems(where, target.onnx, target.tflite, runtime=target.runtime, bits=target.bits)
    if not costs:
        problems.append((f"{where}.limits", "empty; give at least one limit (macs: 1x allows every subnet)"))
    if costs.count("latency") > 1:
        problems.append((f"{where}.limits", "latency and latency_ms are both given; keep one of them"))
    for cost in dict.fromkeys(costs):
        known = cost == "latency" and target.costs
        if not known and target.runtime not in _ONLY.get(cost, (target.runtime,)):
            text = f"{cost} cannot be limited on {target.runtime}, only on {', '.join(_ONLY[cost])}"
            problems.append((f"{where}.limits", text))
    if target.remote and target.costs:
        problems.append((f"{where}.costs", "costs from a file are not timed on another device; leave remote out"))
    if target.remote and target.runtime not in REMOTE:
        text = f"{target.runtime} is not timed on other devices; use runtime: {', '.join(REMOTE)}, or leave it out"
        problems.append((f"{where}.remote", text))
    if target.precision == "int8" and target.runtime == "torch":
        problems.append((f"{where}.precision", "torch runs float32 here; use onnxruntime or litert for int8"))
    if target.precision == "float32" and target.runtime in MICROCONTROLLERS:
        problems.append((f"{where}.precision", f"{target.runtime} runs int8; leave precision out"))
    acts = {space.act, space.stem.first_act, *(stage.act for stage in space.stages)} - {"relu", "relu6"}
    if target.runtime in MICROCONTROLLERS and (acts or any(stage.se for stage in space.stages)):
        text = f"{target.runtime} runs relu and relu6 without squeeze-and-excite; use a space such as mcu or mcu_32"
        problems.append((f"{where}.runtime", text))
    return problems
