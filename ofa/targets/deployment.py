"""What a target's runtime is here: its module, its cost tables, and what is measured of a found network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from ofa.config.target import CORTEX_M, TIMED_RUNTIMES, Target
from ofa.errors import UserError
from ofa.export.runtimes.remote import connect as remote
from ofa.export.runtimes.remote.link import RemoteError
from ofa.export.runtimes.timing import lower_quartile
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.latency import table as latency
from ofa.predictors.costs.microcontroller import tables as microcontroller
from ofa.supernet.space import SearchSpace, Subnet
from ofa.targets.own_costs import own_table

if TYPE_CHECKING:
    from ofa.pipeline.job import Job


_PROGRAMS = {"fit_subnets": 10, "test_subnets": 6}  # their figures have no noise, so a few programs are enough


@dataclass(frozen=True)
class Deployment:
    """A runtime, the bits of its numbers, and the address of the device that it is timed on when that is another one
    than this, or the file that has its latencies. Targets that share a device share its cost tables."""

    runtime: str
    bits: Literal[32, 8]
    remote: str | None = None
    costs: Path | None = None

    @property
    def name(self) -> str:
        where = f" on {self.remote}" if self.remote else f" with the costs of {self.costs.name}" if self.costs else ""
        return f"{self.runtime} {'int8' if self.bits == 8 else 'float32'}{where}"

    @property
    def here(self) -> Deployment:
        """Its runtime on this machine, where accuracy is measured."""
        return replace(self, remote=None, costs=None)

    @property
    def module(self) -> ModuleType:
        """The runtime of ``ofa.export.runtimes``. Raises ``UserError`` with the line that installs what it needs."""
        return _runtime(self.runtime)

    @property
    def scorer(self) -> ModuleType:
        """The runtime that accuracy is measured in: for a Cortex-M, whose emulation is slow, TensorFlow Lite Micro's
        kernels, after its program has given the same bytes on some images. Raises as ``module``."""
        return _runtime("tflm") if self.runtime in CORTEX_M else self.module

    @property
    def has_latency(self) -> bool:
        """Whether it can be timed, on this machine or as ``remote``."""
        return self.runtime in TIMED_RUNTIMES

    @property
    def timed(self) -> bool:
        """Whether it is: its latencies are not those of a file."""
        return self.has_latency and self.costs is None


def _runtime(name: str) -> ModuleType:
    try:
        return import_module(f"ofa.export.runtimes.{name}")
    except (ImportError, ValueError) as error:
        raise UserError(f"the runtime {name} cannot be used: {error}") from error


def deployment_of(target: Target) -> Deployment:
    return Deployment(target.runtime, target.bits, target.remote, target.costs)


def environment(device: Deployment, job: Job) -> dict[str, Any]:
    """What figures measured on the device hold for. Asks it when it is another one."""
    threads = job.recipe.measure.threads if device.has_latency else 1
    if device.remote:
        with as_user_error(device):
            return remote.connect(device.remote).environment(threads=threads)
    return device.module.environment(threads=threads)


def counted(device: Deployment, job: Job) -> dict[str, CostTable]:
    """The costs that are known without a measurement, by name."""
    return counted_costs(device, job.recipe.space, job.head)


def counted_costs(device: Deployment, space: SearchSpace, head: Mapping[str, int]) -> dict[str, CostTable]:
    """The same before there is a job; ``head`` is ``num_classes`` and ``in_chans``."""
    return {
        "macs": CostTable.macs(space, **head),
        "params": CostTable.params(space, **head),
        "flash": CostTable.flash(space, **head, bits=device.bits),
    }


def own_costs(device: Deployment, space: SearchSpace, head: Mapping[str, int], *, seed: int) -> dict[str, CostTable]:
    """The costs that are read from the user's own file, by name."""
    return {"latency": own_table(space, device.costs, **head, seed=seed)} if device.costs else {}


def measured(device: Deployment, job: Job) -> dict[str, CostTable]:
    """The cost tables that the device's runtime is measured for, by name; the first is the one that reports show."""
    config = job.recipe.measure
    own = own_costs(device, job.recipe.space, job.head, seed=job.recipe.seed)
    if device.has_latency and own:
        return own
    if not device.has_latency:
        counts = {name: min(most, getattr(config, name)) for name, most in _PROGRAMS.items()}
        try:
            there = microcontroller.tables(device.module, job.recipe.space, **job.head, **counts, seed=job.recipe.seed)
            return own | there
        except ValueError as error:
            raise UserError(f"{device.name}: {error}") from error
    settings = {name: getattr(config, name) for name in type(config).model_fields}
    there = environment(device, job) if device.remote else {}
    with as_user_error(device):
        table = latency.measure(
            job.recipe.space,
            **job.head,
            **settings,
            runtime=device.module,
            part=part_of(device),
            timer=_timer(device, job, store=_rounds_folder(job) / _rounds_file(device)),
            seed=job.recipe.seed,
            info={"bits": device.bits, **there},
        )
    return {"latency": table}


def delete_rounds(job: Job) -> None:
    """Removes what the stage ``measure`` keeps of unfinished measurements on other devices."""
    for path in _rounds_folder(job).glob("*.rounds.jsonl"):
        path.unlink()


def costs_of(
    device: Deployment, job: Job, subnets: list[Subnet], tables: Mapping[str, CostTable]
) -> list[dict[str, float]]:
    """Each whole subnet's measured costs, comparable with the device's ``tables``; weights do not matter."""
    if device.has_latency and not device.timed:
        return [{} for _ in subnets]  # they are measured elsewhere, if at all
    if not device.has_latency:
        return microcontroller.costs(device.module, job.recipe.space, subnets, **job.head)
    with as_user_error(device):
        times = latency.time_subnets(
            job.recipe.space,
            subnets,
            **job.head,
            runtime=device.module,
            part=part_of(device),
            timer=_timer(device, job),
            threads=job.recipe.measure.threads,
            reference=tables["latency"].info.get("reference"),
        )
    return [{"latency": float(time)} for time in times]


def measure_remote_latency(
    device: Deployment, job: Job, models: Sequence[tuple[Path | bytes, tuple[int, int, int]]], *, rounds: int
) -> list[float]:
    """Milliseconds of each model on another device: files or bytes, with their shapes (channels, height, width)."""
    with as_user_error(device):
        return lower_quartile(_timer(device, job)(models, rounds=rounds)).tolist()


def part_of(device: Deployment) -> latency.MakePart:
    """How its runtime's model of a module is made."""
    return device.module.convert_int8 if device.bits == 8 else device.module.part


def _timer(device: Deployment, job: Job, *, store: Path | None = None) -> latency.Timer | None:
    """What times on another device; ``store`` keeps its rounds."""
    if device.remote is None:
        return None
    return partial(remote.timed, device.remote, threads=job.recipe.measure.threads, store=store)


def _rounds_folder(job: Job) -> Path:
    return job.folder / "costs"


def _rounds_file(device: Deployment) -> str:
    return f"{re.sub(r'[^a-zA-Z0-9.@]+', '-', device.name)}.rounds.jsonl"


@contextmanager
def as_user_error(device: Deployment) -> Iterator[None]:
    try:
        yield
    except RemoteError as error:
        raise UserError(f"{device.name}: {error}") from error
