"""The devices that ``ofa init`` knows by name, and which runtime stands for each on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ofa.config.errors import nearest
from ofa.errors import UserError
from ofa.export.runtimes import RUNTIMES
from ofa.targets.requirements import pip_line


@dataclass(frozen=True)
class Way:
    """A runtime for a device, and the shares of the largest network's costs that its own network may have."""

    runtime: str
    precision: str
    limits: dict[str, float]
    needs_tools: bool = False


@dataclass(frozen=True)
class Device:
    """A kind of device: ``ways`` in the order in which they are tried."""

    about: str
    ways: tuple[Way, ...]


def _cortex_m(runtime: str, about: str, share: float) -> Device:
    memory = {"sram_kb": 0.6, "flash_kb": 0.6}
    return Device(
        about,
        (
            Way(runtime, "int8", {"instructions": share}, needs_tools=True),
            Way(runtime, "int8", memory),
            Way("tflm", "int8", memory),
        ),
    )


DEVICES: dict[str, Device] = {
    "server": Device("a computer with ONNX Runtime", (Way("onnxruntime", "float32", {"latency": 0.9}),)),
    "phone": Device(
        "an Android phone with LiteRT",
        (Way("litert", "int8", {"latency": 0.6}), Way("onnxruntime", "float32", {"latency": 0.6})),
    ),
    "board": Device(
        "a small Linux computer such as a Raspberry Pi",
        (Way("litert", "int8", {"latency": 0.4}), Way("onnxruntime", "float32", {"latency": 0.4})),
    ),
    "m4": _cortex_m("cortex_m4", "a microcontroller with a Cortex-M4", 0.3),
    "m55": _cortex_m("cortex_m55", "a microcontroller with a Cortex-M55", 0.5),
}


@dataclass(frozen=True)
class ChosenTarget:
    """A target of the recipe: ``note`` says what is not here and would be better, or is empty."""

    name: str
    device: Device
    way: Way
    note: str = ""

    @property
    def operators(self) -> frozenset[str] | None:
        """All that its runtime runs of a space's operators; ``None``: whatever torch can."""
        return RUNTIMES[self.way.runtime].operators


def choose_targets(names: Sequence[str]) -> list[ChosenTarget]:
    """For each device named the first of its ways that is installed.

    Raises ``UserError`` for an unknown name, one given twice, and a device none of whose ways is installed.
    """
    if not names:
        raise UserError(f"--targets is empty; name devices: {', '.join(DEVICES)}")
    chosen = []
    for name in names:
        if name not in DEVICES:
            raise UserError(f"--targets: no device is called {name!r}{nearest(name, DEVICES, label='There are')}")
        if names.count(name) > 1:
            raise UserError(f"--targets: {name} is given twice; name each device once")
        chosen.append(_target(name, DEVICES[name]))
    return chosen


def _target(name: str, device: Device) -> ChosenTarget:
    lacking = [_lacks(way) for way in device.ways]
    if all(lacking):
        raise UserError(f"--targets: {name} needs what is not installed: {lacking[0]}")
    first = next(number for number, lacks in enumerate(lacking) if not lacks)
    better = device.ways[0].runtime
    note = f"{better} would be better, and is not whole here: {lacking[0]}" if first else ""
    return ChosenTarget(name, device, device.ways[first], note)


def _lacks(way: Way) -> str | None:
    """What installs what a way lacks; ``None`` when all is here."""
    spec = RUNTIMES[way.runtime]
    packages = {**spec.packages, **(spec.int8_packages if way.precision == "int8" else {})}
    return pip_line(packages) or (spec.missing_tools() if way.needs_tools else None)
