"""What a target's runtime is here: its module, its cost tables, and what is measured of a found network."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from ofa.errors import UserError
from ofa.predictors import latency
from ofa.predictors.cost import CostTable
from ofa.recipe_target import CLOCKED, CORTEX_M, Target
from ofa.supernet.space import Subnet

if TYPE_CHECKING:
    from ofa.stages import Job


@dataclass(frozen=True)
class Device:
    """A runtime and the bits of its numbers. Targets that share a device share its cost tables."""

    runtime: str
    bits: Literal[32, 8]

    @property
    def name(self) -> str:
        return f"{self.runtime} {'int8' if self.bits == 8 else 'float32'}"

    @property
    def module(self) -> ModuleType:
        """The runtime of ``ofa.export.runtimes``. Raises ``UserError`` with the line that installs what it needs."""
        try:
            return import_module(f"ofa.export.runtimes.{'cortex_m' if self.cpu else self.runtime}")
        except (ImportError, ValueError) as error:
            raise UserError(f"the runtime {self.runtime} cannot be used: {error}") from error

    def load(self, model: Any, *, threads: int) -> Any:
        """A session over a model of the runtime's kind."""
        if self.clocked:
            return self.module.load(model, threads=threads)
        return self.module.load(model, **self.cpu)

    @property
    def cpu(self) -> dict[str, str]:
        """What a microcontroller's runtime needs to be told."""
        return {"cpu": self.runtime} if self.runtime in CORTEX_M else {}

    @property
    def clocked(self) -> bool:
        """Whether it is timed on this machine."""
        return self.runtime in CLOCKED


def device_of(target: Target) -> Device:
    return Device(target.runtime, target.bits)


def environment(device: Device, job: Job) -> dict[str, Any]:
    """What figures measured on the device hold for."""
    threads = job.recipe.measure.threads if device.clocked else 1
    return device.module.environment(threads=threads, **device.cpu)


def counted(device: Device, job: Job) -> dict[str, CostTable]:
    """The costs that are known without a measurement, by name."""
    space, head = job.recipe.space, job.head
    return {
        "macs": CostTable.macs(space, **head),
        "params": CostTable.params(space, **head),
        "flash": CostTable.flash(space, **head, bits=device.bits),
    }


def measured(device: Device, job: Job) -> dict[str, CostTable]:
    """The cost tables that the device's runtime is measured for, by name; the first is the one that reports show."""
    if not device.clocked:
        raise UserError(f"{device.name}: no cost tables are measured for this runtime yet")
    config = job.recipe.measure
    settings = {name: getattr(config, name) for name in type(config).model_fields}
    table = latency.measure(
        job.recipe.space,
        **job.head,
        **settings,
        runtime=device.module,
        part=_part(device),
        seed=job.recipe.seed,
        info={"bits": device.bits},
    )
    return {"latency": table}


def costs_of(device: Device, job: Job, subnets: list[Subnet]) -> list[dict[str, float]]:
    """Each whole subnet's measured costs; weights do not matter."""
    times = latency.time_subnets(
        job.recipe.space,
        subnets,
        **job.head,
        runtime=device.module,
        part=_part(device),
        threads=job.recipe.measure.threads,
    )
    return [{"latency": float(time)} for time in times]


def _part(device: Device) -> latency.MakePart:
    return device.module.part_int8 if device.bits == 8 else device.module.part
