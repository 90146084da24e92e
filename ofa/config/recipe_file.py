"""Recipe files: YAML read, overridden by options, written and compared."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ofa.config.errors import nearest, short, short_text
from ofa.config.recipe import Recipe
from ofa.config.renamed import with_new_names
from ofa.config.yaml_text import MAX_BYTES, parse_yaml
from ofa.config.yaml_text import dump_yaml as dump_yaml  # writing belongs to reading
from ofa.errors import UserError

MAX_KEY = 200  # characters of a dotted key
MAX_PARTS = 20


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe given by its path, or by the name of a shipped one. Raises ``UserError``."""
    try:
        path = Path(name_or_path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{short_text(str(name_or_path))}: no such user on this machine") from error
    if is_file(path):
        return path
    folder = Path(str(importlib.resources.files("ofa.recipes")))
    shipped = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    kind = "no such recipe, neither a file nor a shipped one"
    if _answer(path.is_dir):
        kind = "a folder, not a recipe file"
    raise UserError(f"{name_or_path}: {kind}{nearest(path.stem, shipped, label='Shipped')}")


def is_file(path: Path) -> bool:
    """Whether it can be opened and read; a name that no file can have is none."""
    return _answer(path.is_file)


def _answer(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except PermissionError:
        raise  # it may be there: that is told elsewhere
    except (OSError, ValueError):
        return False


def load_recipe(path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file. ``overrides`` are ``"train.total_epochs=3"``, values read as YAML;
    ``train.phases.0.lr`` reaches into a list.

    Raises ``UserError`` that lists every problem, one a line, each with file, key, value and what is allowed.
    """
    return _loaded(Path(path), overrides, stored=False)


def load_run_recipe(folder: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that a run folder holds; ``overrides`` as in ``load_recipe``.

    One that an older version wrote is read with today's names of its keys. Raises ``UserError`` as ``load_recipe``.
    """
    return _loaded(Path(folder) / "recipe.yaml", overrides, stored=True)


def _loaded(path: Path, overrides: Sequence[str], *, stored: bool) -> Recipe:
    values = parse_yaml(_read(path), str(path))
    if values is None:
        raise UserError(f"{path}: the recipe is empty; it needs at least the keys space, train and targets")
    if not isinstance(values, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys such as space, train and targets, not {short(values)}")
    if isinstance(values.get("space"), str):
        values["space"] = {"preset": values["space"]}
    if stored:
        values = {"finetune": False} | with_new_names(values)  # a version that wrote no such key did not fine-tune
    values.setdefault("name", path.stem)
    keys = [_override(values, option) for option in overrides]
    return Recipe.from_dict(values, source=str(path), overridden=keys)


def _read(path: Path) -> str:
    """Its text, of which no more is read than a recipe may have: the file may be endless."""
    if path.exists() and not is_file(path):  # a pipe would be waited for
        raise UserError(f"{path}: not a file, so it cannot be read as a recipe")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"{path}: too long for a recipe; the limit is {MAX_BYTES} bytes")
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: cannot be read as a recipe: {reason}") from error


def _override(values: dict[str, Any], option: str) -> str:
    """Set one key; returns it. Sections that are not there are made."""
    key, equals, text = option.partition("=")
    *sections, last = key.split(".")
    shown = short_text(option)
    if not equals or not all([*sections, last]):
        raise UserError(f"--set {shown}: write it as key=value, such as train.total_epochs=3")
    if len(key) > MAX_KEY or len(sections) > MAX_PARTS:
        raise UserError(f"--set {shown}: too long for a key; write it as key=value, such as train.total_epochs=3")
    place: Any = values
    for number, part in enumerate([*sections, last]):
        here = ".".join(sections[:number])
        if isinstance(place, list):
            if not part.isdecimal() or int(part) >= len(place):
                raise UserError(f"--set {shown}: {here} is a list; name its items by 0 to {len(place) - 1}")
            part = int(part)
        elif not isinstance(place, dict):
            raise UserError(f"--set {shown}: {here} is {short(place)}, which has no keys")
        if number == len(sections):
            place[part] = parse_yaml(text, f"--set {shown}")
            break
        child = place[part] if isinstance(place, list) else place.get(part)
        if child is None or child is False:  # a section that was left out
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
