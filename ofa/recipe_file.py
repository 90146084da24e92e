"""Recipe files: YAML read, overridden by options, written and compared."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from ofa.errors import UserError
from ofa.recipe import Recipe
from ofa.recipe_errors import nearest, short


class _Loader(yaml.SafeLoader):
    """``safe_load`` that reads 5e6 and 1e-3 as numbers (YAML 1.2) and refuses keys that are given twice.

    It also refuses lists and mappings nested deeper than any recipe's: thousands would end in a RecursionError.
    """

    deepest, depth = 20, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth > self.deepest:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {self.deepest} levels", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or not re.search(r":(str|merge)$", key.tag):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key that is not text; put it in quotes", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f'"{key.value}" is given twice', key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """``safe_dump`` that puts text in quotes where ``_Loader`` would read a number."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def dump_yaml(values: dict[str, Any]) -> str:
    """``Recipe.to_dict()`` as the text of a recipe file."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe given by its path, or by the name of a shipped one. Raises ``UserError``."""
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    folder = Path(str(importlib.resources.files("ofa.recipes")))
    shipped = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    kind = "a folder, not a recipe file" if path.is_dir() else "no such recipe, neither a file nor a shipped one"
    raise UserError(f"{name_or_path}: {kind}{nearest(path.stem, shipped, label='Shipped')}")


def load_recipe(path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file. ``overrides`` are ``"train.epochs=3"``, values read as YAML; ``train.phases.0.lr``
    reaches into a list.

    Raises ``UserError`` that lists every problem, one a line, each with file, key, value and what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: cannot be read as a recipe: {reason}") from error
    values = _parse(text, str(path))
    if values is None:
        raise UserError(f"{path}: the recipe is empty; it needs at least the keys space, train and targets")
    if not isinstance(values, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys such as space, train and targets, not {short(values)}")
    if isinstance(values.get("space"), str):
        values["space"] = {"preset": values["space"]}
    values.setdefault("name", path.stem)
    keys = [_override(values, option) for option in overrides]
    return Recipe.from_dict(values, source=str(path), overridden=keys)


def _parse(text: str, source: str) -> Any:
    try:
        # The round trip through JSON gives every part its own object where YAML's anchors share one.
        return json.loads(json.dumps(_Loader(text).get_single_data(), default=str))
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        place = f"line {len(before)}, column {len(before[-1]) + 1}"
        raise UserError(
            f"{source}: {place}: not valid YAML: the character U+{error.character:04X}; remove it"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise UserError(f"{source}:{place} not valid YAML: {getattr(error, 'problem', None) or error}") from error


def _override(values: dict[str, Any], option: str) -> str:
    """Set one key; returns it. Sections that are not there are made."""
    key, equals, text = option.partition("=")
    *sections, last = key.split(".")
    if not equals or not all([*sections, last]):
        raise UserError(f"--set {option}: write it as key=value, such as train.epochs=3")
    place: Any = values
    for number, part in enumerate([*sections, last]):
        here = ".".join(sections[:number])
        if isinstance(place, list):
            if not part.isdecimal() or int(part) >= len(place):
                raise UserError(f"--set {option}: {here} is a list; name its items by 0 to {len(place) - 1}")
            part = int(part)
        elif not isinstance(place, dict):
            raise UserError(f"--set {option}: {here} is {short(place)}, which has no keys")
        if number == len(sections):
            place[part] = _parse(text, f"--set {option}")
            break
        child = place[part] if isinstance(place, list) else place.get(part)
        if child is None:
            child = place[part] = {}
        place = child
    return key


def recipe_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What changed between two ``Recipe.to_dict()``: ``"train.epochs: 10, now 3"`` for each dotted key."""
    before, after = dict(_flat(old)), dict(_flat(new))
    changed = [key for key in before | after if before.get(key) != after.get(key)]
    was, now = ({key: short(side[key]) if key in side else "absent" for key in changed} for side in (before, after))
    return [f"{key}: {was[key]}, now {now[key]}" for key in changed]


def _flat(values: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys and values; lists of sections are entered, other lists are values."""
    sections = isinstance(values, list) and values and all(isinstance(value, dict) for value in values)
    if not (isinstance(values, dict) or sections):
        yield prefix.removesuffix("."), values
        return
    for key, value in enumerate(values) if sections else values.items():
        yield from _flat(value, f"{prefix}{key}.")
