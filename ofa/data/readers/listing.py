"""The image files of a folder, listed without opening one; and every file and folder that is not used, with its reason.

This module imports no torch: whether the data has changed is asked before anything else.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ofa.data.readers.class_names import check_class_names, same_name
from ofa.data.readers.formats import ending, image_endings
from ofa.data.readers.layout import is_hidden, shown, split_folders, split_of, unreadable_folder
from ofa.data.readers.unused import Unused
from ofa.errors import UserError


@dataclass(frozen=True)
class Listing:
    """``n`` image files in the order of split, class and name.

    ``folders``: the splits that have a folder of their own. ``split`` ``(n,)`` uint8 is an index into them, ``labels``
    ``(n,)`` int64 into ``classes``. ``paths`` ``(n,)`` are byte strings below ``root``. ``names`` ``(n,)`` are byte
    strings below the split's folder (``cats/1.jpg``), the same on every file system. ``sizes`` are bytes, ``times``
    nanoseconds. ``unused`` are sentences.
    """

    root: Path
    classes: tuple[str, ...]
    folders: tuple[str, ...]
    split: np.ndarray
    labels: np.ndarray
    paths: np.ndarray
    names: np.ndarray
    sizes: np.ndarray
    times: np.ndarray
    unused: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)


def list_images(root: Path, *, test: str | None = None) -> Listing:
    """Lists ``train/CLASS/**``, ``val/CLASS/**`` and ``test/CLASS/**``, or ``CLASS/**`` of a folder without splits.

    Hidden files and folders are left out. Links are followed, each folder is read once. Raises ``UserError`` when the
    folder is not there, or it is not clear what its folders mean.
    """
    if not root.is_dir():
        raise UserError(f"data.folder: {root} is not a folder; give the path of an existing one")
    folders = split_folders(root, test)
    walk = _Walk(root)
    walk.beside(folders)
    for split, folder in folders.items():
        walk.read_split(split, folder)
    walk.follow_links()
    classes = _checked(walk, folders)
    return _sorted(walk, folders, classes)


class _Walk:
    """What is found below the folders of the splits. A class is the first folder below a split."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unused = Unused(root)
        self.files: list[tuple[str, str, str, int, int]] = []  # split, class, path, bytes, time
        self.classes: dict[str, dict[str, str]] = {}  # of each split: class to path
        self.not_followed: dict[str, str] = {}  # link to what was read already
        self._links: list[tuple[str, str, str]] = []  # path, split, class
        self._endings = image_endings()
        # Device and inode of every folder that was read, so that links that lead out or back are not followed twice.
        real = root.resolve()
        self._seen = {_id(place): str(place) for place in (*reversed(real.parents), real)}

    def beside(self, folders: dict[str, Path]) -> None:
        """What lies beside the folders of the splits is not used."""
        if self.root in folders.values():
            return
        used = {folder.relative_to(self.root).parts[0] for folder in folders.values()}
        for entry in self._entries(str(self.root)):
            if entry.name in used:
                continue
            if entry.is_dir():
                hint = "another folder holds that split" if split_of(entry.name) else "no split has that name"
                self.unused.add_folder(entry.path, hint)
            else:
                self.unused.add_file(entry.path, "beside the folders of the splits")

    def read_split(self, split: str, folder: Path) -> None:
        self.classes[split] = {}
        if folder != self.root and (other := self._seen.get(_id(folder))):
            raise UserError(f"data.folder: {folder} is the same folder as {shown(other)}; give {split} one of its own")
        self._read(str(folder), split, None)

    def follow_links(self) -> None:
        """Links come last, so that an image belongs to the folder that it lies in; each folder is read once."""
        while self._links:
            self._links.sort(reverse=True)
            path, split, name = self._links.pop()
            if _id(path) in self._seen:
                self._not_again(path, "link to a folder that is read already")
            else:
                self._read(path, split, name)

    def _not_again(self, path: str, kind: str) -> None:
        self.not_followed[path] = self._seen[_id(path)]
        self.unused.add(kind, path)

    def _read(self, folder: str, split: str, name: str | None) -> None:
        """Reads the folder of a split (``name`` is None) or one of the class ``name``, and all below."""
        first, waiting = folder, [(folder, name)]
        while waiting:
            folder, name = waiting.pop()
            try:
                own = _id(folder)
                if folder != first and own in self._seen:  # by a link to it, or mounted twice
                    self._not_again(folder, "folder that is read already")
                    continue
                self._seen[own] = folder
                entries = self._entries(folder)
            except OSError as error:
                raise unreadable_folder(folder, error) from error
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, self._class_of(entry, split, name)))
                elif entry.is_symlink() and Path(entry.path).is_dir():
                    self._links.append((entry.path, split, self._class_of(entry, split, name)))
                else:
                    self._file(entry, split, name)

    def _class_of(self, entry: os.DirEntry, split: str, name: str | None) -> str:
        if name is not None:
            return name
        self.classes[split][entry.name] = entry.path
        return entry.name

    def _file(self, entry: os.DirEntry, split: str, name: str | None) -> None:
        if ending(entry.name) not in self._endings:
            self.unused.add_file(entry.path)
            return
        try:
            status = entry.stat()
        except OSError:
            self.unused.add("link that leads nowhere", entry.path)
            return
        if not stat.S_ISREG(status.st_mode):
            self.unused.add("special file (a pipe, a socket or a device)", entry.path)
        elif name is None:
            raise _loose(self.root, entry.path, split)
        else:
            self.files.append((split, name, entry.path, status.st_size, status.st_mtime_ns))

    def _entries(self, folder: str) -> list[os.DirEntry]:
        """What is in a folder and not hidden."""
        with os.scandir(folder) as entries:
            visible = []
            for entry in entries:
                if not is_hidden(entry.name):
                    visible.append(entry)
                else:
                    kind = "folder" if entry.is_dir(follow_symlinks=False) else "file"
                    self.unused.add(f"hidden {kind}", entry.path)
            return sorted(visible, key=lambda entry: entry.name)


def _id(path: Path | str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def _loose(root: Path, path: str, split: str) -> UserError:
    folder = Path(path).parent
    if folder != root and split == "train":
        hint = f"; if {folder.name!r} is a class itself, move all classes into a new folder train/"
    else:
        hint = ""
    return UserError(
        f"{shown(path)} is in no class folder; move it to {shown(folder / 'CLASS')}, "
        f"the folder named by its class{hint}"
    )


def _checked(walk: _Walk, folders: dict[str, Path]) -> tuple[str, ...]:
    """The classes, in natural order. Raises ``UserError`` when the splits do not fit together."""
    filled = {(split, name) for split, name, *_ in walk.files}
    for split, folder in folders.items():
        names = natural_order(walk.classes[split])
        check_class_names(folder, names)
        if not any((split, name) in filled for name in names):
            raise UserError(_no_images(walk, folder))
        for name in names:
            if (split, name) not in filled:
                path = walk.classes[split][name]
                if path in walk.not_followed:
                    why = f"{shown(path)} leads to {shown(walk.not_followed[path])}, which is read already; remove it"
                else:
                    why = f"{shown(path)}; add images to that folder or remove it{walk.unused.remedy()}"
                raise UserError(f"class {name!r} has no images: {why}")
    classes = tuple(natural_order(walk.classes["train"]))
    if len(classes) < 2:
        raise UserError(f"{folders['train']} has only the class {classes[0]!r}; a classifier needs at least two")
    alike = {same_name(name): name for name in classes}
    for split, folder in folders.items():
        for name in natural_order(walk.classes[split].keys() - set(classes)):
            if other := alike.get(same_name(name)):
                hint = f"it has {other!r}, which differs in case or in how accents are encoded only; rename one of them"
            else:
                hint = "rename or remove it"
            raise UserError(f"{folder} has the class {name!r}, which {folders['train']} lacks; {hint}")
    return classes


def _no_images(walk: _Walk, folder: Path) -> str:
    found = "; ".join(walk.unused.sentences())
    return (
        f"{folder} holds no images of a kind that can be read (such as .jpg, .png, .webp); "
        "give class folders with images"
        f"{f' (found: {found})' if found else ''}"
    )


def natural_order(names: Iterable[str]) -> list[str]:
    """By letters without case and by numbers, as timm orders classes: c1, c9, c10."""
    return sorted(sorted(names), key=_natural_key)


def _natural_key(name: str) -> list[str | int]:
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def _sorted(walk: _Walk, folders: dict[str, Path], classes: tuple[str, ...]) -> Listing:
    number = {name: index for index, name in enumerate(classes)}
    order = {split: index for index, split in enumerate(folders)}
    above = {split: len(str(folder)) + 1 for split, folder in folders.items()}
    start = len(str(walk.root)) + 1
    rows = sorted(
        (order[split], number[name], os.fsencode(path[start:]), _normal(path[above[split] :]), size, time)
        for split, name, path, size, time in walk.files
    )
    split, labels, paths, names, sizes, times = zip(*rows, strict=True)
    return Listing(
        root=walk.root,
        classes=classes,
        folders=tuple(folders),
        split=np.array(split, np.uint8),
        labels=np.array(labels, np.int64),
        paths=np.array(paths),
        names=np.array(names),
        sizes=np.array(sizes, np.int64),
        times=np.array(times, np.int64),
        unused=tuple(walk.unused.sentences()),
    )


def _normal(name: str) -> bytes:
    """The same bytes on systems that decompose accents, write other separators or hold bytes that are no UTF-8."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return name.replace(os.sep, "/").encode("utf-8", "surrogatepass")
