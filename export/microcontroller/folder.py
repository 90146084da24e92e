"""Replaces a folder of ours that other people's files may lie in: only what was written by us, and all at once."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ofa.supernet.files import read_json, write_json

MANIFEST = "files.json"  # of the folder: the SHA-256 of each file that was written
_ASIDE = "yours"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def check_place(folder: Path) -> None:
    """Raises ``ValueError`` when something that is no folder lies where one shall be written."""
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link, and a folder is written there: remove the link or move it elsewhere")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and a folder is written there: move or rename the file")


@contextmanager
def replacement(folder: Path, *, notice: Callable[[str], object]) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``folder`` when the block ends without an error.

    Files in ``folder`` that an earlier replacement did not write stay. One that it wrote and somebody edited is kept as
    ``NAME.yours``, and so is one whose name a new file takes; ``notice`` gets a sentence for each. Whatever stops this,
    ``folder`` is the old one or the new one. Raises ``ValueError`` as ``check_place`` does.
    """
    check_place(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f".{folder.name}.new")
    made, before = scratch / "made", scratch / "before"
    # What a run that was killed left: between two renames, the folder itself.
    if before.is_dir() and not folder.exists():
        before.rename(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        yield made
        write_json(made / MANIFEST, {"files": {name: _digest(made / name) for name in _files(made)}})
        if folder.exists():
            _adopt(folder, made, notice)
        _exchange(made, folder, before)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def written(folder: Path) -> list[Path]:
    """The files of ``folder`` that a replacement wrote, its manifest included; sorted."""
    return sorted(folder / name for name in (*_manifest(folder), MANIFEST))


def _manifest(folder: Path) -> dict[str, str]:
    """By relative name the digest of what was written; nothing where no manifest can be read."""
    try:
        found = read_json(folder / MANIFEST)["files"]
        return {str(name): str(digest) for name, digest in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _files(folder: Path) -> Iterator[str]:
    """Relative names of all that is no folder (links are not followed), sorted."""
    for path, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(path) / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield (Path(path) / name).relative_to(folder).as_posix()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _adopt(folder: Path, made: Path, notice: Callable[[str], object]) -> None:
    """Brings into ``made`` what in ``folder`` is somebody else's, without touching ``folder``."""
    ours, aside = _manifest(folder), []
    for name in _files(folder):
        path = folder / name
        if name in ours:
            regular = path.is_file() and not path.is_symlink()
            if not regular or _digest(path) != ours[name]:
                aside.append((name, "was edited"))
        elif name != MANIFEST:
            if _taken(made, name):
                aside.append((name, "has the name of a new file"))
            else:
                _copy(path, made / name)
    # Last, so that a name is free among the files that keep theirs.
    for name, reason in aside:
        kept = _free(made, name)
        _copy(folder / name, made / kept)
        notice(f"{folder / name} {reason}: kept as {kept}")
    for path, _, _ in os.walk(folder):
        name = Path(path).relative_to(folder).as_posix()
        if not any(other.startswith(f"{name}/") for other in ours) and not _taken(made, name):
            (made / name).mkdir(parents=True, exist_ok=True)


def _taken(made: Path, name: str) -> bool:
    """Whether ``name`` is there, or lies below what is no folder there."""
    parts = Path(name).parts
    above = (made.joinpath(*parts[:count]) for count in range(1, len(parts)))
    return os.path.lexists(made / name) or any(os.path.lexists(path) and not path.is_dir() for path in above)


def _free(made: Path, name: str) -> str:
    """``name`` with ``.yours`` behind the part of it that is taken, and a number where that is taken, too."""
    parts = list(Path(name).parts)
    for count in range(1, len(parts)):
        if (made / Path(*parts[:count])).is_file():
            parts[count - 1] += f".{_ASIDE}"
    plain = "/".join(parts)
    if plain != name and not _taken(made, plain):
        return plain
    number = 1
    while _taken(made, found := f"{plain}.{_ASIDE}" + (f".{number}" if number > 1 else "")):
        number += 1
    return found


def _copy(path: Path, to: Path) -> None:
    """A second name for the same file, which costs nothing; a copy where the disk has no such thing."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, to, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(path, to, follow_symlinks=False)


def _exchange(made: Path, folder: Path, before: Path) -> None:
    """Puts ``made`` where ``folder`` is (or is not yet): in one step where the system can, else in two."""
    if not folder.exists():
        made.rename(folder)
        return
    with suppress(OSError, AttributeError):
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        if rename(_AT_FDCWD, os.fsencode(made), _AT_FDCWD, os.fsencode(folder), _RENAME_EXCHANGE) == 0:
            return
    folder.rename(before)
    made.rename(folder)
