"""Families of networks, one folder each, found by its name. ``protocol`` says what a folder must hold.

Nothing outside this package names a family. A folder on ``__path__`` is enough: there is no list to enter it in.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

DEFAULT = "mobilenetv3"  # of a space that names none


def names() -> tuple[str, ...]:
    """The folders of this package, in order; those that begin with an underscore hold what several families share."""
    return tuple(sorted(found.name for found in iter_modules(__path__) if found.ispkg and found.name[0] != "_"))


def space_class(name: str) -> Any:
    """The ``SearchSpace`` of a family; does not import torch."""
    return import_module(f"{__name__}.{name}.space").Space


def presets() -> dict[str, dict[str, Any]]:
    """The published spaces of all families, as ``SearchSpace.from_dict`` takes them; does not import torch.

    Those of the default family come first.
    """
    ordered = sorted(names(), key=lambda name: (name != DEFAULT, name))
    modules = [import_module(f"{__name__}.{name}.presets") for name in ordered]
    return {preset: values for module in modules for preset, values in module.PRESETS.items()}


def model(name: str) -> ModuleType:
    """How networks of a family are built and made elastic (``protocol.FamilyModel``); imports torch and timm."""
    return import_module(f"{__name__}.{name}.model")


def ofa_checkpoint(name: str) -> ModuleType | None:
    """How published OFA checkpoints of a family name their modules; None where there are none."""
    module = f"{__name__}.{name}.ofa_checkpoint"
    return import_module(module) if find_spec(module) else None


def of_timm_class(timm_class: str) -> str:
    """The family whose networks are of a class of timm. Raises ``KeyError`` where there is none."""
    classes = {getattr(space_class(name), "timm_class", None): name for name in names()}
    return classes[timm_class]


def derived_classes() -> dict[str, str]:
    """The classes of timm whose models are turned into spaces, and the family that does; does not import torch."""
    return {timm_class: name for name in names() for timm_class in getattr(space_class(name), "timm_classes", ())}


def derived_space(values: dict[str, Any]) -> dict[str, Any]:
    """The space of a timm model as its family takes it, from ``{"timm": NAME, ...}``; imports torch and timm."""
    return import_module("ofa.supernet.derived.derive").asked_space(values)
