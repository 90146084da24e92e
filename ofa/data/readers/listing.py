"""Lists the image files of a folder without opening one, and the files and folders that are not used, with the reason.

This module imports no torch, because a run with nothing to do must end at once.
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

from ofa.data.readers.class_names import check_class_names, file_system_name
from ofa.data.readers.formats import ending, image_endings
from ofa.data.readers.layout import is_hidden, shown, split_folders, split_of, unreadable_folder
from ofa.data.readers.unused import Unused
from ofa.errors import UserError


@dataclass(frozen=True)
class Listing:
    """``n`` image files, sorted by split, class and name.

    Attributes:
        classes: names of the classes, in natural order.
        folders: the splits that have a folder of their own.
        split: uint8 ``(n,)``, indices into ``folders``.
        labels: int64 ``(n,)``, indices into ``classes``.
        paths: byte strings ``(n,)``, relative to ``root``.
        names: byte strings ``(n,)``, relative to the split's folder (``cats/1.jpg``), the same on every
            file system.
        sizes: bytes ``(n,)``.
        times: times of the last change in nanoseconds ``(n,)``.
        unused: a sentence for each kind of file and each folder that is not used.
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

    Hidden files and folders are left out. Links are followed, and each folder is read once. Raises
    ``UserError`` when the folder is missing, or it is unclear what its sub-folders mean.
    """
    if not root.is_dir():
        raise UserError(f"data.folder: {root} is not a folder; give the path of an existing one")
    folders = split_folders(root, test)
    walk = _Walk(root)
    walk.list_unused_beside(folders)
    for split, folder in folders.items():
        walk.read_split(split, folder)
    walk.follow_links()
    classes = _checked_classes(walk, folders)
    return _sorted(walk, folders, classes)


class _Walk:
    """Collects the files below the folders of the splits. The first folder below a split is a class."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unused = Unused(root)
        self.files: list[tuple[str, str, str, int, int]] = []  # split, class, path, bytes, time
        self.classes: dict[str, dict[str, str]] = {}  # of each split: class to path
        self.not_followed: dict[str, str] = {}  # link to the folder that was read already
        self._links: list[tuple[str, str, str]] = []  # path, split, class
        self._endings = image_endings()
        # Device and inode of every folder that was read, so that links out of the root and back are not
        # followed twice.
        real = root.resolve()
        self._visited = {_id(folder): str(folder) for folder in (*reversed(real.parents), real)}

    def list_unused_beside(self, folders: dict[str, Path]) -> None:
        """Adds files and folders beside those of the splits to ``unused``."""
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
        """Reads the folder of a split. Raises ``UserError`` when it is that of another split."""
        self.classes[split] = {}
        if folder != self.root and (visited := self._visited.get(_id(folder))):
            raise UserError(
                f"data.folder: {folder} is the same folder as {shown(visited)}; give {split} one of its own"
            )
        self._read(str(folder), split, None)

    def follow_links(self) -> None:
        """Reads linked folders. They are read last, so that an image belongs to the folder that it is really in."""
        while self._links:
            self._links.sort(reverse=True)
            path, split, name = self._links.pop()
            if _id(path) in self._visited:
                self._skip_visited(path, "link to a folder that is read already")
            else:
                self._read(path, split, name)

    def _skip_visited(self, path: str, kind: str) -> None:
        self.not_followed[path] = self._visited[_id(path)]
        self.unused.add(kind, path)

    def _read(self, folder: str, split: str, name: str | None) -> None:
        """Reads the folder of a split (``name`` is None) or one of the class ``name``, and all below."""
        first, stack = folder, [(folder, name)]
        while stack:
            folder, name = stack.pop()
            try:
                own = _id(folder)
                if folder != first and own in self._visited:  # through a link, or mounted twice
                    self._skip_visited(folder, "folder that is read already")
                    continue
                self._visited[own] = folder
                entries = self._entries(folder)
            except OSError as error:
                raise unreadable_folder(folder, error) from error
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append((entry.path, self._class_of(entry, split, name)))
                elif entry.is_symlink() and Path(entry.path).is_dir():
                    self._links.append((entry.path, split, self._class_of(entry, split, name)))
                else:
                    self._add_file(entry, split, name)

    def _class_of(self, entry: os.DirEntry, split: str, name: str | None) -> str:
        """The class of a folder: ``name``, or below a split's folder a new class."""
        if name is not None:
            return name
        self.classes[split][entry.name] = entry.path
        return entry.name

    def _add_file(self, entry: os.DirEntry, split: str, name: str | None) -> None:
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
            raise _outside_classes(self.root, entry.path, split)
        else:
            self.files.append((split, name, entry.path, status.st_size, status.st_mtime_ns))

    def _entries(self, folder: str) -> list[os.DirEntry]:
        """The sorted entries of a folder that are not hidden; hidden ones are added to ``unused``."""
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
    """Device and inode."""
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def _outside_classes(root: Path, path: str, split: str) -> UserError:
    """The error for an image that is in no class folder."""
    folder = Path(path).parent
    if folder != root and split == "train":
        hint = f"; if {folder.name!r} is a class itself, move all classes into a new folder train/"
    else:
        hint = ""
    return UserError(
        f"{shown(path)} is in no class folder; move it to {shown(folder / 'CLASS')}, "
        f"the folder named by its class{hint}"
    )


def _checked_classes(walk: _Walk, folders: dict[str, Path]) -> tuple[str, ...]:
    """The classes, in natural order. Raises ``UserError`` for empty classes, and classes that train/ does not have."""
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
                    reason = (
                        f"{shown(path)} leads to {shown(walk.not_followed[path])}, which is read already; remove it"
                    )
                else:
                    reason = f"{shown(path)}; add images to that folder or remove it{walk.unused.remedy()}"
                raise UserError(f"class {name!r} has no images: {reason}")

    classes = tuple(natural_order(walk.classes["train"]))
    if len(classes) < 2:
        raise UserError(f"{folders['train']} has only the class {classes[0]!r}; a classifier needs at least two")

    # A class of another split is unknown, or spelt differently.
    class_of_name = {file_system_name(name): name for name in classes}
    for split, folder in folders.items():
        for name in natural_order(walk.classes[split].keys() - set(classes)):
            if similar := class_of_name.get(file_system_name(name)):
                hint = (
                    f"it has {similar!r}, which differs only in case or in how accents are encoded; rename one of them"
                )
            else:
                hint = "rename or remove it"
            raise UserError(f"{folder} has the class {name!r}, which {folders['train']} lacks; {hint}")
    return classes


def _no_images(walk: _Walk, folder: Path) -> str:
    """The error message for a split without images, with what the folder has instead."""
    unused = "; ".join(walk.unused.sentences())
    return (
        f"{folder} holds no images of a kind that can be read (such as .jpg, .png, .webp); "
        "give class folders with images"
        f"{f' (found: {unused})' if unused else ''}"
    )


def natural_order(names: Iterable[str]) -> list[str]:
    """Sorted as timm sorts classes, ignoring case and by numbers: c1, c9, c10."""

    def key(name: str) -> list[str | int]:
        parts = re.split(r"([0-9]+)", name.lower())  # text and numbers alternate
        return [int(part) if index % 2 else part for index, part in enumerate(parts)]

    return sorted(sorted(names), key=key)


def _sorted(walk: _Walk, folders: dict[str, Path], classes: tuple[str, ...]) -> Listing:
    """The files of a walk as sorted arrays."""
    # Paths become relative to the root, and names to the folder of their split.
    label_of = {name: label for label, name in enumerate(classes)}
    index_of = {split: index for index, split in enumerate(folders)}
    prefixes = {split: len(str(folder)) + 1 for split, folder in folders.items()}
    root_prefix = len(str(walk.root)) + 1
    rows = sorted(
        (
            index_of[split],
            label_of[name],
            os.fsencode(path[root_prefix:]),
            _portable_name(path[prefixes[split] :]),
            size,
            time,
        )
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


def _portable_name(name: str) -> bytes:
    """A name as the same bytes on systems that decompose accents, use other separators or allow invalid UTF-8."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return name.replace(os.sep, "/").encode("utf-8", "surrogatepass")
