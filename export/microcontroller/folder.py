"""Replaces a written folder atomically, and keeps the files that users added or edited."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ofa.supernet.files import read_json, write_json

MANIFEST = "files.json"  # the SHA-256 of each file that was written
_KEPT_SUFFIX = "yours"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def check_folder_path(folder: Path) -> None:
    """Raises ``ValueError`` when ``folder`` is a link or a file, so that no folder can be written there."""
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link, and a folder is written there: remove the link or move it elsewhere")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and a folder is written there: move or rename the file")


@contextmanager
def replacement(folder: Path, *, notice: Callable[[str], object]) -> Iterator[Path]:
    """Gives a new folder to fill, which replaces ``folder`` when the block ends without an error.

    Files in ``folder`` that no earlier replacement wrote stay. A written file that was edited is kept as
    ``NAME.yours``, and so is a file whose name a new file has. ``notice`` is called with a sentence about
    each. If anything stops this, ``folder`` is either the old one or the new one. Raises ``ValueError`` as
    ``check_folder_path`` does.
    """
    check_folder_path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f".{folder.name}.new")
    new_folder, old_folder = scratch / "made", scratch / "before"

    # A process that was killed between two renames left the old folder here.
    if old_folder.is_dir() and not folder.exists():
        old_folder.rename(folder)
    shutil.rmtree(scratch, ignore_errors=True)

    new_folder.mkdir(parents=True)
    try:
        yield new_folder
        write_json(new_folder / MANIFEST, {"files": {name: _digest(new_folder / name) for name in _files(new_folder)}})
        if folder.exists():
            _keep_users_files(folder, new_folder, notice)
        _exchange(new_folder, folder, old_folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def written_files(folder: Path) -> list[Path]:
    """The files of ``folder`` that a replacement wrote, its manifest included; sorted."""
    return sorted(folder / name for name in (*_manifest(folder), MANIFEST))


def _manifest(folder: Path) -> dict[str, str]:
    """The digest of each written file by relative name; empty where no manifest can be read."""
    try:
        digests = read_json(folder / MANIFEST)["files"]
        return {str(name): str(digest) for name, digest in digests.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _files(folder: Path) -> Iterator[str]:
    """Sorted relative names of all files, and of links, which are not followed."""
    for path, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(path) / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield (Path(path) / name).relative_to(folder).as_posix()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _keep_users_files(folder: Path, new_folder: Path, notice: Callable[[str], object]) -> None:
    """Copies to ``new_folder`` what users added to or edited in ``folder``, without changing ``folder``."""
    digests, renamed = _manifest(folder), []
    for name in _files(folder):
        path = folder / name
        if name in digests:
            regular = path.is_file() and not path.is_symlink()
            if not regular or _digest(path) != digests[name]:
                renamed.append((name, "was edited"))
        elif name != MANIFEST:
            if _is_taken(new_folder, name):
                renamed.append((name, "has the name of a new file"))
            else:
                _copy(path, new_folder / name)

    # After the files that keep their names, so that no new name is one of those.
    for name, reason in renamed:
        free_name = _free_name(new_folder, name)
        _copy(folder / name, new_folder / free_name)
        notice(f"{folder / name} {reason}: kept as {free_name}")

    # Empty folders of users.
    for path, _, _ in os.walk(folder):
        name = Path(path).relative_to(folder).as_posix()
        if not any(written.startswith(f"{name}/") for written in digests) and not _is_taken(new_folder, name):
            (new_folder / name).mkdir(parents=True, exist_ok=True)


def _is_taken(folder: Path, name: str) -> bool:
    """Whether ``name`` exists in ``folder``, or one of its parents does and is no folder."""
    parts = Path(name).parts
    parents = (folder.joinpath(*parts[:count]) for count in range(1, len(parts)))
    return os.path.lexists(folder / name) or any(os.path.lexists(path) and not path.is_dir() for path in parents)


def _free_name(folder: Path, name: str) -> str:
    """``name`` with ``.yours`` appended to the part of it that is taken, and a number where that is taken, too."""
    parts = list(Path(name).parts)
    for count in range(1, len(parts)):
        if (folder / Path(*parts[:count])).is_file():
            parts[count - 1] += f".{_KEPT_SUFFIX}"
    plain = "/".join(parts)
    if plain != name and not _is_taken(folder, plain):
        return plain
    number = 1
    while _is_taken(folder, free_name := f"{plain}.{_KEPT_SUFFIX}" + (f".{number}" if number > 1 else "")):
        number += 1
    return free_name


def _copy(path: Path, to: Path) -> None:
    """A hard link to the same file, which costs nothing; a copy where the file system has none."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, to, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(path, to, follow_symlinks=False)


def _exchange(new_folder: Path, folder: Path, old_folder: Path) -> None:
    """Replaces ``folder``, if there is one, by ``new_folder``: in one step where the system can, else in two."""
    if not folder.exists():
        new_folder.rename(folder)
        return
    with suppress(OSError, AttributeError):
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        if rename(_AT_FDCWD, os.fsencode(new_folder), _AT_FDCWD, os.fsencode(folder), _RENAME_EXCHANGE) == 0:
            return
    folder.rename(old_folder)
    new_folder.rename(folder)
