"""The section ``targets:`` of a recipe: where a network shall run, and what it may cost there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
)

from ofa.config.errors import Problem
from ofa.config.export import MemoryConfig, OnnxConfig, TfliteConfig, export_problems
from ofa.config.finetune import QuantizationAwareConfig, TargetFinetuneConfig, or_false
from ofa.config.types import MIN_FRACTION, Absolute, Section, Takes, as_fraction, real, reserved
from ofa.export.runtimes import RUNTIMES, RuntimeSpec
from ofa.export.runtimes.remote.address import valid_address
from ofa.predictors.costs.names import COSTS, LimitKey, limitable_on
from ofa.supernet.space import SearchSpace

if TYPE_CHECKING:
    from ofa.predictors.costs.table import Table

MIN_LIMIT, MAX_LIMIT = MIN_FRACTION, 1e18  # in any unit


@dataclass(frozen=True)
class Limit:
    """The most that a subnet may cost, in the unit of the cost's table, or when ``relative`` a fraction of the largest
    subnet's cost: ``Limit("latency", 0.5, True)`` is half of its latency.
    """

    cost: str
    value: float
    relative: bool

    def absolute(self, table: Table) -> float:
        """The most in the unit of the cost's ``table``."""
        if not self.relative:
            return self.value
        return self.value * float(table.predict(table.space.encode(table.space.largest)[None])[0])


def _check_fraction(value: Any, *, cost: str) -> str | None:
    if value is None or (isinstance(value, str) and as_fraction(value)):
        return value
    example = f"{value}x" if isinstance(value, int | float) and 0 < value <= 1 else "0.5x"
    keys = [key.name for key in COSTS[cost].limits if key.accepts != "fraction"]
    amounts = f"; {COSTS[cost].unit or 'amounts'} are given by {', '.join(keys)}" if keys else ""
    raise ValueError(f"must be a fraction of the largest subnet's {cost} such as {example}{amounts}")


def _check_amount_or_fraction(value: Any) -> float | str | None:
    if value is None or (isinstance(value, str) and as_fraction(value)):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and MIN_LIMIT <= value <= MAX_LIMIT:
        return float(value)
    raise ValueError("must be a positive number such as 5e6, or a fraction of the largest subnet's cost such as 0.5x")


def _check_address(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and valid_address(value)):
        return value
    raise ValueError("must be ssh:HOST, adb or adb:SERIAL")


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


_A_FRACTION = Takes("text", "1e-6x to 1x, such as `0.5x`")
_AN_AMOUNT_OR_FRACTION = Takes("number or text", "1e-6 to 1e18, or `0.5x` of the largest subnet's")
_AN_ADDRESS = Takes("text", "`ssh:HOST`, `adb`, `adb:SERIAL`")


def _limit_type(cost: str, key: LimitKey) -> Any:
    """The type of a key of ``limits``."""
    if key.accepts == "amount":
        return real(MIN_LIMIT, key.highest) | None
    if key.accepts == "fraction":
        return Annotated[str | None, PlainValidator(partial(_check_fraction, cost=cost)), _A_FRACTION]
    return Annotated[float | str | None, PlainValidator(_check_amount_or_fraction), _AN_AMOUNT_OR_FRACTION]


def _limit_help(cost: str, key: LimitKey) -> str:
    facts = COSTS[cost]
    unit = facts.shown.unit if facts.shown else ""
    amount = {"fraction": ", as a fraction of the largest subnet's"}.get(key.accepts, f", in {unit}" if unit else "")
    return f"{facts.about.removesuffix('.')}, at most{amount}."


class _LimitsSection(Section):
    @model_serializer
    def _only_given(self) -> dict[str, Any]:
        return {key: value for key, value in self if value is not None}


# Key of a recipe: the cost that it limits, and how much of the table's unit one is.
_LIMIT_KEYS = {key.name: (cost, key.unit) for cost, facts in COSTS.items() for key in facts.limits}
LimitsConfig = create_model(
    "LimitsConfig",
    __base__=_LimitsSection,
    __module__=__name__,
    __doc__="Limits as a recipe writes them: ``latency_ms: 0.8``, ``latency: 0.5x``, ``macs: 5e6``, ``flash_kb: 256``.",
    **{
        key.name: (_limit_type(cost, key), Field(None, description=_limit_help(cost, key)))
        for cost, facts in COSTS.items()
        for key in facts.limits
    },
)


class Target(Section):
    """One device: its runtime and precision, its limits, and whether its network is trained further."""

    runtime: Literal[tuple(RUNTIMES)] = Field(
        "onnxruntime", description="What runs the network there; `ofa runtimes` says what each needs and measures."
    )
    precision: Literal["float32", "int8"] | None = Field(
        None, description="Of weights and activations; null: the first that the runtime has."
    )
    int8_drop: real(0, 0.99) = Field(
        0.01, description="Accuracy that an int8 model may lose; one that loses more is quantised in other ways."
    )
    finetune: or_false(TargetFinetuneConfig) | None = Field(
        None, description="Training of the target's own network after the search; false: none; null: as finetune says."
    )
    quantization_aware: QuantizationAwareConfig | None = Field(
        QuantizationAwareConfig(),
        description="Training of an int8 network that loses more than int8_drop however it is quantised; null: none.",
    )
    limits_config: LimitsConfig = Field(alias="limits", description="The most that the network may cost; at least one.")
    remote: Annotated[str | None, PlainValidator(_check_address), _AN_ADDRESS] = Field(
        None, description="Device that LiteRT is timed on when it is not this machine."
    )
    costs: Absolute | None = Field(
        None, description="File or folder of latencies that were measured elsewhere, which are then not measured."
    )
    onnx: OnnxConfig = Field(OnnxConfig(), description="What the ONNX files look like.")
    tflite: TfliteConfig = Field(TfliteConfig(), description="What the TFLite file looks like.")
    memory: MemoryConfig = Field(MemoryConfig(), description="How a Cortex-M's program saves RAM.")

    @model_serializer(mode="wrap")
    def _memory_of_programs_alone(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A run that was made before there was ``memory`` stays what it is, on runtimes that have none."""
        values = handler(self)
        if self.spec.format != "c":
            values.pop("memory", None)
        return values

    @property
    def spec(self) -> RuntimeSpec:
        """The facts of its runtime."""
        return RUNTIMES[self.runtime]

    @property
    def bits(self) -> Literal[32, 8]:
        """Of a weight or activation on the device."""
        return 8 if (self.precision or self.spec.precisions[0]) == "int8" else 32

    @property
    def limits(self) -> tuple[Limit, ...]:
        limits = []
        for key, value in self.limits_config.model_dump().items():
            cost, unit = _LIMIT_KEYS[key]
            relative = isinstance(value, str)
            limits.append(Limit(cost, as_fraction(value) if relative else value * unit, relative))
        return tuple(limits)


def target_problems(name: str, target: Target, space: SearchSpace) -> list[Problem]:
    """What of a target contradicts itself, or the space."""
    where = f"targets.{name}"
    problems = export_problems(where, target.onnx, target.tflite, runtime=target.runtime, bits=target.bits)
    problems += [(f"{where}.limits", text) for text in _limit_problems(target)]
    if target.memory != MemoryConfig() and target.spec.format != "c":
        known = " or ".join(runtime for runtime, spec in RUNTIMES.items() if spec.format == "c")
        problems.append((f"{where}.memory", f"is of C programs (runtime: {known}); leave it out"))
    if target.remote and target.costs:
        problems.append((f"{where}.costs", "costs from a file are not timed on another device; leave remote out"))
    if target.remote and not target.spec.remote:
        remote = ", ".join(runtime for runtime, spec in RUNTIMES.items() if spec.remote)
        text = f"{target.runtime} is not timed on other devices; use runtime: {remote}, or leave it out"
        problems.append((f"{where}.remote", text))
    if target.precision and target.precision not in target.spec.precisions:
        problems.append((f"{where}.precision", _precision_problem(target)))
    # A space that is read off a timm model imports torch to tell its operators.
    if target.spec.operators is not None and (lacking := space.operators - target.spec.operators):
        known = " and ".join(sorted(target.spec.operators - {"conv"}))
        text = f"{target.runtime} runs {known}, not {', '.join(sorted(lacking))}; use a space such as mcu or mcu_32"
        problems.append((f"{where}.runtime", text))
    return problems


def _limit_problems(target: Target) -> list[str]:
    given: dict[str, list[str]] = {}
    for key in target.limits_config.model_dump():
        given.setdefault(_LIMIT_KEYS[key][0], []).append(key)
    if not given:
        return ["empty; give at least one limit (macs: 1x allows every subnet)"]
    problems = [
        f"{' and '.join(sorted(keys))} are both given; keep one of them" for keys in given.values() if len(keys) > 1
    ]
    for cost in given:
        from_file = cost == "latency" and target.costs
        if not from_file and target.runtime not in limitable_on(cost):
            problems.append(f"{cost} cannot be limited on {target.runtime}, only on {', '.join(limitable_on(cost))}")
    return problems


def _precision_problem(target: Target) -> str:
    """Which precision the runtime has, and which runtimes of its kind have the one asked for."""
    able = [
        runtime
        for runtime, spec in RUNTIMES.items()
        if target.precision in spec.precisions and spec.has_latency == target.spec.has_latency
    ]
    other = f", or use {' or '.join(able)} for {target.precision}" if able else ""
    return f"{target.runtime} runs {' and '.join(target.spec.precisions)}; leave precision out{other}"
