"""The options of `ofa measure` as changes of a recipe: the device that times, and a known table to go on from."""

from __future__ import annotations

import json
from pathlib import Path

from ofa.config.errors import nearest
from ofa.config.recipe import Recipe
from ofa.errors import UserError
from ofa.export.runtimes import RUNTIMES


def device_address(*, ssh: str | None, adb: bool, serial: str | None, target: str | None) -> str | None:
    """What a target's `remote` is; None when no other device is meant. Raises ``UserError`` for options at odds."""
    if serial and not adb:
        raise UserError("--serial chooses a phone; use it with --adb")
    if target and not (adb or ssh):
        raise UserError("--target chooses which target is timed; use it with --ssh or --adb")
    if adb and ssh:
        raise UserError("--ssh and --adb are both given; use one, and time the other's targets in a second command")
    if ssh:
        return f"ssh:{ssh}"
    return (f"adb:{serial}" if serial else "adb") if adb else None


def remote_overrides(recipe: Recipe, address: str, target: str | None) -> list[str]:
    """The options ``--set`` that have ``target``, or every litert target, timed on a device."""
    if target and target not in recipe.targets:
        raise UserError(f"--target {target}: no such target{nearest(target, recipe.targets)}")
    remote = [name for name, spec in RUNTIMES.items() if spec.remote]
    names = [target] if target else [name for name, one in recipe.targets.items() if one.runtime in remote]
    if not names:
        asked = f"no target has the runtime {' or '.join(remote)}, which other devices run"
        raise UserError(f"{asked}: {', '.join(recipe.targets)}")
    return [f"targets.{name}.remote={json.dumps(address)}" for name in names]


def known_overrides(known: Path | None, samples: int | None) -> list[str]:
    """The options ``--set`` that have targets go on from a known table, with so many networks timed."""
    if known is None:
        if samples is not None:
            raise UserError("--samples says how many subnets are timed with --from; give a known table, too")
        return []
    return [f"measure.known={json.dumps(str(known))}"] + ([] if samples is None else [f"measure.samples={samples}"])
