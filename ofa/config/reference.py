"""Every key of a recipe as a page of documentation, made from the schema: ``python -m ofa.config.reference``.

It writes ``docs/recipe.md`` to standard output; a test holds the file in the repository to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ofa.config.errors import type_options
from ofa.config.recipe import Recipe
from ofa.config.renamed import OPEN_KEYS, RENAMED_KEYS
from ofa.config.space import TimmSpace
from ofa.config.types import Takes, ZeroOr
from ofa.supernet import families
from ofa.supernet.space import SearchSpace

OF_TIMM = "space: {timm: NAME}"  # the other form of ``space``
COMMAND = "python -m ofa.config.reference > docs/recipe.md"
# What a section looks like in a recipe; a test loads each.
EXAMPLES = {
    "": "name: my\nseed: 0\nspace: tiny_mbv3\ntrain: {total_epochs: 100}\ntargets: {phone: {limits: {macs: 0.5x}}}",
    "space": "space: {preset: tiny_mbv3, resolutions: [32, 40, 48, 56, 64]}   # `ofa spaces` lists the presets",
    OF_TIMM: "space: {timm: mobilenetv4_conv_small, resolutions: [160, 192, 224], expands: [0.5, 0.75, 1.0]}",
    "data": "data: {folder: my_images, workers: 4, augment: {hflip: 0.5, scale: [0.35, 1.0]}}",
    "train": "train: {total_epochs: 100, batch_size: 64, checkpoint: {minutes: 5}}",
    "train.phases.N": "train:\n  phases:\n    - {name: full, epochs: 30, lr: 0.2}\n"
    "    - {name: all, epochs: 60, lr: 0.1, subnets: 4, open: {kernel: 3, depth: 2, expand: 3},\n"
    "       sampling: sandwich}",
    "collect": "collect: {strategy: active, batch: 20, subnets: 200, images: 5000}",
    "predictor": "predictor: {kind: auto}",
    "measure": "measure: {threads: 4, rounds: 40}",
    "search": "search: {population: 200, generations: 50, patience: 10}",
    "targets.NAME": "space: mcu_32\ntargets:\n"
    "  phone: {runtime: litert, precision: int8, remote: adb, limits: {latency_ms: 2.5}}\n"
    "  board: {runtime: cortex_m4, limits: {sram_kb: 64, flash_kb: 256, instructions: 40e6}}",
}
_HEAD = f"""# Every key of a recipe

Generated from the schema in `ofa/config/` by `{COMMAND}`.

A recipe is a YAML file. `space`, `train` and `targets` are needed, everything else has a default.
`ofa check RECIPE` names every wrong key and value at once; `--set KEY=VALUE` changes one for a call,
such as `--set train.total_epochs=3` or `--set targets.phone.limits.latency=0.4x`. `null` is no value.
"""


@dataclass(frozen=True)
class Bounds:
    """The smallest and largest number that a key takes; ``zero_or``: 0 or at least that."""

    low: float
    high: float
    zero_or: float | None = None


class Key(NamedTuple):
    """One key: its type and range in words, the bounds of a number, its default, and what it is."""

    name: str
    type: str
    range: str
    bounds: Bounds | None
    default: str
    description: str


def sections(model: type[BaseModel] = Recipe, where: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Dotted name and class of every section of a recipe, ``N`` for the number of an item and ``NAME`` for a key."""
    yield where, model
    for name, field in model.model_fields.items():
        place = f"{where}.{field.alias or name}".lstrip(".")
        for option in type_options(field.annotation):
            inside, suffix = option, ""
            if get_origin(option) in (tuple, dict):
                inside = get_args(option)[0 if get_origin(option) is tuple else 1]
                suffix = ".N" if get_origin(option) is tuple else ".NAME"
            # Of a space every family has its own sections; those read off timm's models are given by a name.
            derived = set(families.derived_classes().values())
            written = [families.space_class(name) for name in families.names() if name not in derived]
            for kind in written if inside is SearchSpace else [inside]:
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield from sections(kind, place + suffix)
            if inside is SearchSpace:
                yield OF_TIMM, TimmSpace


def keys(model: type[BaseModel]) -> Iterator[Key]:
    """The keys of a section, in order."""
    for name, field in model.model_fields.items():
        options = [_of_option(*option) for option in _with_metadata(field.annotation, field.metadata)]
        types, ranges = (
            " or ".join(dict.fromkeys(option[part] for option in options if option[part])) for part in (0, 1)
        )
        bounds = next((found for _, _, found in options if found), None)
        yield Key(field.alias or name, types, ranges, bounds, _default(field), field.description or "")


def markdown() -> str:
    """``docs/recipe.md``."""
    blocks = [_HEAD]
    for where, model in sections():
        blocks.append(f"## `{where}`" if where else "## The whole recipe")
        if model.__doc__:
            blocks.append(" ".join(model.__doc__.split("\n\n")[0].replace("``", "`").split()))
        if where in EXAMPLES:
            blocks.append(f"```yaml\n{EXAMPLES[where]}\n```")
        blocks.append(_table(list(keys(model))))
    inside = {f"train.phases.N.{key}": f"train.phases.N.open.{key}" for key in OPEN_KEYS}
    renamed = "\n".join(f"| `{old}` | `{new}` |" for old, new in (RENAMED_KEYS | inside).items())
    blocks.append(f"## Keys with another name now\n\n| before | now |\n|---|---|\n{renamed}")
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _table(rows: Sequence[Key]) -> str:
    lines = ["| key | type | range | default | what it is |", "|---|---|---|---|---|"]
    for key in rows:
        lines.append(f"| `{key.name}` | {key.type} | {key.range} | {key.default} | {key.description} |")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return next((part.default for part in field.metadata if isinstance(part, Takes) and part.default), "needed")
    return "`{}`" if isinstance(value, BaseModel) else f"`{json.dumps(value, default=list)}`"


def _with_metadata(kind: Any, known: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
    """The types that a union stands for, each with the metadata around it, taken out of ``Annotated``."""
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        return _with_metadata(inner, [*known, *more])
    if len(type_options(kind)) > 1 or get_origin(kind) not in (None, tuple, dict, Literal):
        return [pair for part in get_args(kind) for pair in _with_metadata(part, known)]
    return [(kind, list(known))]


def _of_option(kind: Any, metadata: Sequence[Any]) -> tuple[str, str, Bounds | None]:
    """Type and range in words, and the bounds of a number."""
    parts = [part for item in metadata for part in (*getattr(item, "metadata", ()), item)]
    if kind is type(None):
        return "null", "", None
    for part in parts:
        if isinstance(part, Takes):
            return part.type, part.range, None
    if get_origin(kind) is Literal:
        return "choice", ", ".join(f"`{value}`" for value in get_args(kind)), None
    if kind in (int, float):
        bounds, name = _bounds(parts), "whole number" if kind is int else "number"
        if math.isinf(bounds.high):  # a validator of its own checks it
            return name, "", None
        zero = "" if bounds.zero_or is None else "0, or "
        low = bounds.low if bounds.zero_or is None else bounds.zero_or
        return name, f"{zero}{number(low)} to {number(bounds.high)}", bounds
    if get_origin(kind) is tuple:
        item, *others = get_args(kind)
        (of, limits, _), *_ = (_of_option(*one) for one in _with_metadata(item, ()))
        return f"{'list' if others == [...] else 'pair'} of {of}s", limits, None
    if get_origin(kind) is dict:
        return "mapping of sections", "", None
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section", "", None
    return {bool: "true or false", str: "text"}[kind], "", None


def _bounds(parts: Sequence[Any]) -> Bounds:
    low = max(getattr(part, "ge", float("-inf")) for part in parts)
    high = min(getattr(part, "le", float("inf")) for part in parts)
    zero_or = next((part.low for part in parts if isinstance(part, ZeroOr)), None)
    return Bounds(low, high, zero_or)


def number(value: float) -> str:
    """As a person writes it: ``64``, ``65,536``, ``1e9``, ``0.999999``."""
    if abs(value) < 1e9 and value == int(value):
        return f"{int(value):,}"
    text = next(text for digits in (6, 10, 17) if float(text := f"{value:.{digits}g}") == value)
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
