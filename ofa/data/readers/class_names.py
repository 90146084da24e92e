"""Checks the names of classes, which are written one a line into files that other programs read."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ofa.data.readers.layout import shown
from ofa.errors import UserError

MAX_CLASS_NAME = 200  # characters


def check_class_names(folder: Path, names: Sequence[str]) -> None:
    """Raises ``UserError`` for a name that cannot be written on a line of its own.

    Also for two names that are the same on some file systems.
    """
    for name in names:
        if problem := _problem(name):
            raise UserError(f"{shown(folder / name)}: a class cannot be called {_quoted(name)}: {problem}; rename it")
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(file_system_name(name), name)
        if first != name:
            raise UserError(
                f"{shown(folder)} has the classes {_quoted(first)} and {_quoted(name)}, which differ only in case or "
                "in how accents are encoded, and are one folder on other systems; rename or merge them"
            )


def file_system_name(name: str) -> str:
    """A normalised name, equal for names that are the same on some file systems."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())


def _problem(name: str) -> str | None:
    if any("\ud800" <= c <= "\udfff" for c in name):
        return "its bytes are not UTF-8"
    if len(name.splitlines()) > 1 or name.splitlines() != [name]:
        return "it has a line break"
    # Other invisible characters (joiners, soft hyphens, marks of direction) are parts of written languages.
    if any(unicodedata.category(c) == "Cc" for c in name):
        return "it has a control character"
    if name != name.strip():
        return "it begins or ends with a space"
    if len(name) > MAX_CLASS_NAME:
        return f"it has {len(name)} characters, more than {MAX_CLASS_NAME}"
    return None


def _quoted(name: str) -> str:
    return f"'{shown(name if len(name) <= MAX_CLASS_NAME else name[:40] + '...')}'"
