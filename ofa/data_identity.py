"""Has the data changed since a stage ran? Answered from names and times, without reading images or importing torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ofa.recipe import DataConfig


def data_identity(config: DataConfig) -> list[list[str | int]]:
    """Names and modification times of the folders down to the classes (a folder's changes when files come or go), or
    of the idx files; empty for the embedded digits and for data that is not there."""
    root = config.folder or config.idx
    if root is None or not root.is_dir():
        return []
    if config.idx:
        paths = [path for path in root.iterdir() if path.is_file()]
    else:
        children = [path for path in root.iterdir() if path.is_dir()]
        paths = [root, *children, *(path for child in children for path in child.iterdir() if path.is_dir())]
    return [[str(path.relative_to(root)), path.stat().st_mtime_ns] for path in sorted(paths)]


def data_place(config: DataConfig) -> Path | None:
    """The folder that the data comes from; None for the embedded digits."""
    return config.folder or config.idx
