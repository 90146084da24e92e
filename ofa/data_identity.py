"""Has the data changed since a stage ran? Answered from names and times, without reading images or importing torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ofa.errors import UserError

if TYPE_CHECKING:
    from ofa.recipe import DataConfig


def data_identity(config: DataConfig, *, train_only: bool = False) -> list[list[str | int]]:
    """Names and modification times of the class folders (a folder's changes when files come or go), or of the idx
    files; empty for the embedded digits.

    ``train_only`` leaves out what cannot reach the training split, so that mending a validation image, as an error asks
    for, costs no training. Raises ``UserError`` when the data is not there: a disk that is not mounted is no change.
    """
    root = data_place(config)
    if root is None:
        return []
    if not root.is_dir():
        key = "idx" if config.idx else "folder"
        raise UserError(f"data.{key}: {root} is not a folder; give the path of an existing one")
    if config.idx:
        paths = [path for path in root.iterdir() if path.is_file()]
    else:
        apart = root / "train"
        tops = [apart] if train_only and apart.is_dir() else [path for path in root.iterdir() if path.is_dir()]
        below = {top: [path for path in top.iterdir() if path.is_dir()] for top in tops}
        paths = [path for top, classes in below.items() for path in classes or [top]]
    return [[str(path.relative_to(root)), path.stat().st_mtime_ns] for path in sorted(paths)]


def data_place(config: DataConfig) -> Path | None:
    """The folder that the data comes from; None for the embedded digits."""
    return config.folder or config.idx
