"""The options ``--ssh`` and ``--adb`` as changes of a recipe."""

from __future__ import annotations

import json

from ofa.config.errors import nearest
from ofa.config.recipe import Recipe
from ofa.errors import UserError
from ofa.export.runtimes import RUNTIMES


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
