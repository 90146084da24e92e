"""Where a target's network runs: a runtime, a precision, and the device when it is not this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from ofa.config.target import Target
from ofa.errors import UserError
from ofa.export.microcontroller.memory import DEFAULT, Memory
from ofa.export.runtimes import RUNTIMES, RuntimeSpec
from ofa.export.runtimes.remote import connect as remote
from ofa.export.runtimes.remote.link import RemoteError

if TYPE_CHECKING:
    from ofa.predictors.costs.latency.parts import MakePart


@dataclass(frozen=True)
class Deployment:
    """Where a network runs. Targets that share a deployment share its cost tables.

    Attributes:
        runtime: a key of ``RUNTIMES``.
        bits: of a weight or activation.
        remote: address of the device that it is timed on; None: this machine.
        costs: the user's own file of latencies, which are then not measured.
        memory: what a Cortex-M's program does to need less RAM.
    """

    runtime: str
    bits: Literal[32, 8]
    remote: str | None = None
    costs: Path | None = None
    memory: Memory = DEFAULT

    @property
    def name(self) -> str:
        where = f" on {self.remote}" if self.remote else f" with the costs of {self.costs.name}" if self.costs else ""
        changed = ", ".join(
            f"{key} {value}" for key, value in asdict(self.memory).items() if value != getattr(DEFAULT, key)
        )
        return f"{self.runtime} {'int8' if self.bits == 8 else 'float32'}{where}{f' with {changed}' if changed else ''}"

    @property
    def spec(self) -> RuntimeSpec:
        """The facts of its runtime."""
        return RUNTIMES[self.runtime]

    @property
    def local(self) -> Deployment:
        """Its runtime on this machine, where accuracy is measured."""
        return replace(self, remote=None, costs=None)

    @property
    def module(self) -> ModuleType:
        """Its runtime's module. Raises ``UserError`` with the line that installs what it needs."""
        return _load_runtime(self.runtime)

    @property
    def scorer(self) -> ModuleType:
        """The runtime that accuracy is measured in: its own, or the ``scored_by`` of ``RUNTIMES``. Raises as
        ``module``."""
        return _load_runtime(self.spec.scored_by or self.runtime)

    @property
    def convert(self) -> MakePart:
        """What makes its runtime's model of a module, in its precision."""
        return self.module.convert_int8 if self.bits == 8 else self.module.convert

    @property
    def has_latency(self) -> bool:
        """Whether it can be timed, on this machine or as ``remote``."""
        return self.spec.has_latency

    @property
    def timed(self) -> bool:
        """Whether it is: its latencies are not those of a file."""
        return self.has_latency and self.costs is None


def _load_runtime(name: str) -> ModuleType:
    try:
        return RUNTIMES[name].load_module()
    except (ImportError, ValueError) as error:
        raise UserError(f"the runtime {name} cannot be used: {error}") from error


def deployment_of(target: Target) -> Deployment:
    memory = Memory(**target.memory.model_dump())
    return Deployment(target.runtime, target.bits, target.remote, target.costs, memory)


def environment(deployment: Deployment, *, threads: int) -> dict[str, Any]:
    """What figures measured on it hold for: version, threads, processor. Asks the device when it is another one.

    ``threads`` are those of a runtime that can be timed; the others have one.
    """
    threads = threads if deployment.has_latency else 1
    if deployment.remote:
        with remote_errors(deployment):
            return remote.connect(deployment.remote).environment(threads=threads)
    return deployment.module.environment(threads=threads)


@contextmanager
def remote_errors(deployment: Deployment) -> Iterator[None]:
    """Turns errors of another device into ``UserError`` that names the deployment."""
    try:
        yield
    except RemoteError as error:
        raise UserError(f"{deployment.name}: {error}") from error
