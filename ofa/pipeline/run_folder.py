"""What may lie in a run folder and where its files may be: a run folder can come from somebody else."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ofa.errors import UserError

# Names in a run folder that ofa reads or writes; whatever else lies there is the user's, and is never looked at.
FOLDERS = ("data", "train", "supernet", "predictor", "costs", "search", "finetune", "models")
FILES = (
    "recipe.yaml",
    "run.json",
    "run.copy.json",
    "lock",
    "accuracy.csv",
    "accuracy.digests",
    "proxies.csv",
    "threads.json",
    "evaluation.json",
    "report.json",
    "report.md",
    "report.html",
)
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # of ``write_atomic``


def inside(folder: Path, name: str) -> Path:
    """``folder / name``, when that is a place inside ``folder`` whatever links there are.

    Raises ``ValueError`` when ``name`` is absolute, climbs, is no plain relative path, or leads over a link.
    """
    parts = name.split("/")
    if not name or "\0" in name or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name[:100]!r} is not the name of a file inside {folder}")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ValueError(f"{path} is a link, which a run folder does not hold")
    return path


def check_folder(folder: Path) -> None:
    """Raises ``UserError`` when what ofa would read, write or delete is a link, a device, or of the wrong kind.

    ``folder`` itself may be a link: its owner made it.
    """
    for name in FILES:
        _check(folder / name, folder, file=True)
    for name in FOLDERS:
        _check(folder / name, folder, file=False)
        for path in _below(folder / name):
            _check(path, folder, file=None)


def sweep(folder: Path) -> None:
    """Removes what killed processes were writing. Only for the folder's owner."""
    for path in (*_entries(folder), *(path for name in FOLDERS for path in _below(folder / name))):
        if _TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def is_free(folder: Path) -> bool:
    """Whether a run may begin there: nothing is there yet, or an empty folder, apart from a lock."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and all(path.name.startswith(("lock", ".lock")) for path in folder.iterdir())


def quarantine(path: Path, reason: str) -> Path:
    """Renames a file or folder to ``NAME.reason``, or ``NAME.reason2`` and so on; returns the new path."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.{reason}{number if number > 1 else ''}")):
        number += 1
    return path.rename(aside)


def _check(path: Path, folder: Path, *, file: bool | None) -> None:
    """``file``: what ``path`` must be when it is there; None: either a file or a folder."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(mode):
        raise UserError(f"{path} is a link, which is not followed inside a run folder; put a copy in its place")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f"{path} is neither a file nor a folder; remove it from the run folder")
    if file is not None and stat.S_ISREG(mode) != file:
        wanted, found = ("file", "folder") if file else ("folder", "file")
        raise UserError(f"{path} is a {found} where {folder} has a {wanted}; move it away")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _below(folder: Path) -> Iterator[Path]:
    """Everything below, without following links. The C folder of a model is its user's too: only what lies directly in
    it is ours."""
    for path in _entries(folder) if not folder.is_symlink() else ():
        yield path
        if path.is_dir() and not path.is_symlink() and folder.name != "c":
            yield from _below(path)
