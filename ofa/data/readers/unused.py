"""The files and folders of a data folder that are not used: by kind, with a count and one example."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ofa.data.readers.formats import PLUGINS, ending
from ofa.data.readers.layout import shown

MAX_FOLDERS = 10  # listed one by one


class Unused:
    """Collects files and folders; ``sentences`` gives one for each kind, with an example."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kinds: dict[str, tuple[int, str]] = {}
        self._folders: list[str] = []
        self._plugin = ""

    def add(self, kind: str, path: str) -> None:
        """Counts a path of a ``kind``, which is a noun with what follows it, such as ``hidden file``."""
        count, example = self._kinds.get(kind, (0, path))
        self._kinds[kind] = count + 1, min(example, path)  # the first by name: entries are in any order

    def add_file(self, path: str, location: str = "") -> None:
        """Counts a file by its ending; ``location`` says where such files are."""
        suffix = ending(path)
        self._plugin = self._plugin or PLUGINS.get(suffix, "")
        remedy = f", which `{PLUGINS[suffix]}` lets you read" if suffix in PLUGINS else ""
        kind = f"{shown(suffix)} file" if suffix else "file without an ending"
        self.add(" ".join(filter(None, (kind, location))) + remedy, path)

    def add_folder(self, path: str, reason: str) -> None:
        """Adds a folder with a ``reason`` of its own."""
        self._folders.append(f"folder {shown(self._below(path))}/ ({reason})")

    def remedy(self) -> str:
        """The command that installs a plugin for files that are not used, as the end of a sentence; else empty."""
        return f", or `{self._plugin}`" if self._plugin else ""

    def sentences(self) -> list[str]:
        """A sentence for each folder and kind, the most frequent kinds first."""
        folders = sorted(self._folders)
        if len(folders) > MAX_FOLDERS:
            folders[MAX_FOLDERS - 1 :] = [f"{len(folders) - MAX_FOLDERS + 1} more folders like these"]
        counted = sorted(self._kinds.items(), key=lambda item: (-item[1][0], item[0]))
        return folders + [self._sentence(kind, count, example) for kind, (count, example) in counted]

    def _sentence(self, kind: str, count: int, example: str) -> str:
        path = shown(self._below(example))
        if count == 1:
            return f"1 {kind} ({path})"
        # The first of these words is the noun: ".txt file beside the folders of ..." becomes ".txt files
        # beside ...".
        plural = re.sub(r"\b(file|folder|link|device)\b", r"\1s", kind, count=1)
        return f"{count} {plural} (such as {path})"

    def _below(self, path: str) -> str:
        return os.path.relpath(path, self._root)
