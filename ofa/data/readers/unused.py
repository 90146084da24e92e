"""What of a data folder is not used, by kind, with a count and one example."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ofa.data.readers.formats import PLUGINS, ending
from ofa.data.readers.layout import shown

MAX_FOLDERS = 10  # named one by one


class Unused:
    """Collects files and folders; ``sentences`` gives one for each kind, with an example."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kinds: dict[str, tuple[int, str]] = {}
        self._folders: list[str] = []
        self._plugin = ""

    def add(self, kind: str, path: str) -> None:
        count, example = self._kinds.get(kind, (0, path))
        self._kinds[kind] = count + 1, min(example, path)  # a folder's entries come in any order

    def add_file(self, path: str, place: str = "") -> None:
        suffix = ending(path)
        self._plugin = self._plugin or PLUGINS.get(suffix, "")
        remedy = f", which `{PLUGINS[suffix]}` lets you read" if suffix in PLUGINS else ""
        kind = f"{shown(suffix)} file" if suffix else "file without an ending"
        self.add(" ".join(filter(None, (kind, place))) + remedy, path)

    def add_folder(self, path: str, reason: str) -> None:
        self._folders.append(f"folder {shown(self._below(path))}/ ({reason})")

    def remedy(self) -> str:
        """What to install for images that were left out, as the end of a sentence."""
        return f", or `{self._plugin}`" if self._plugin else ""

    def sentences(self) -> list[str]:
        folders = sorted(self._folders)
        if len(folders) > MAX_FOLDERS:
            folders[MAX_FOLDERS - 1 :] = [f"{len(folders) - MAX_FOLDERS + 1} more folders like these"]
        counted = sorted(self._kinds.items(), key=lambda item: (-item[1][0], item[0]))
        return folders + [self._sentence(kind, count, example) for kind, (count, example) in counted]

    def _sentence(self, kind: str, count: int, example: str) -> str:
        path = shown(self._below(example))
        return f"1 {kind} ({path})" if count == 1 else f"{count} {_plural(kind)} (such as {path})"

    def _below(self, path: str) -> str:
        return os.path.relpath(path, self._root)


def _plural(kind: str) -> str:
    """``.txt file beside ...`` to ``.txt files beside ...``: the first of these words is what is counted."""
    return re.sub(r"\b(file|folder|link|device)\b", r"\1s", kind, count=1)
