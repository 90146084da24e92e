"""Finds the sub-folders of the training, validation and test images by their usual names, in any case."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ofa.data.readers.splits import SPLITS
from ofa.errors import UserError

_WORDS = {
    "train": ("train", "training", "trainset", "trn"),
    "validation": ("val", "valid", "validation", "dev", "valset"),
    "test": ("test", "testing", "testset", "tst", "eval", "evaluation"),
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words}
# Such as seg_train (Intel's images), train_set, Training-Data, test images, train2017 (COCO).
_DECORATED = re.compile(r"(?:seg[ _-])?([a-z]+)(?:[ _-]?(?:set|data|dataset|images|imgs|split|folder))?[ _-]?\d*")
# Folders that systems and programs create; like hidden ones, they hold nothing of the user's.
_SYSTEM = ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found", "system volume information")


def is_hidden(name: str) -> bool:
    """Whether a name begins with a dot or is that of a system's folder."""
    return name.startswith(".") or name.lower() in _SYSTEM


def split_of(name: str) -> str | None:
    """The split that a folder of this name usually holds: ``Training``, ``seg_train`` and ``train_set`` are train."""
    match = _DECORATED.fullmatch(name.lower())
    return _SPLIT_OF.get(match[1]) if match else None


def split_folders(root: Path, test: str | None) -> dict[str, Path]:
    """The folder of each split that has one; only ``train``, the root itself, when the root holds the classes.

    ``test`` is the sub-folder to test on, whatever its name. Raises ``UserError`` when the names are
    ambiguous.
    """
    names = _folders_in(root)
    if test is not None:
        if test not in names or split_of(test) == "train":
            raise UserError(f"data.test: {test!r} must name a folder in {root} other than train")
        names = [name for name in names if name != test]

    candidates = {split: [name for name in names if split_of(name) == split] for split in SPLITS}
    if test is not None:
        candidates["test"] = [test]
    for split, folders in candidates.items():
        if len(folders) > 1:
            raise UserError(
                f"data.folder: {root} has both {folders[0]}/ and {folders[1]}/, which can both hold {split} images; "
                "keep one, or name the one to test on in data.test"
            )
    if not candidates["train"]:
        _check_holds_classes(root, names, [*candidates["validation"], *candidates["test"]])
        return {"train": root}
    return {split: _innermost(root / folders[0], split) for split, folders in candidates.items() if folders}


def _check_holds_classes(root: Path, names: list[str], held_out: list[str]) -> None:
    """Raises ``UserError`` when the folders ``names`` of a root without train/ do not look like classes."""
    if held_out:
        raise UserError(f"data.folder: {root} has {held_out[0]}/ but no train/; add train/ with class folders")

    # Splits one folder deeper: below each class, or in the folder that was meant.
    splits_below = {}
    for name in names:
        below = {split_of(folder): folder for folder in _folders_in(root / name)}
        if split := below.get("train") or below.get("validation"):
            splits_below[name] = split
    if len(splits_below) > 1:
        name, split = next(iter(splits_below.items()))
        raise UserError(
            f"data.folder: {root} has {split}/ below each class ({name}/{split}); "
            f"put the classes below the splits ({split}/{name}), not the splits below the classes"
        )
    for name, split in splits_below.items():
        raise UserError(f"data.folder: {root} has no train/ but {root / name} has {split}/; give that")

    words = [_SPLIT_OF.keys() & re.split(r"[^a-z]+", name.lower()) for name in names]
    if names and all(words):
        raise UserError(
            f"data.folder: {root} has {names[0]}/, which looks like a split, not a class; "
            "name the splits train/, val/ and test/"
        )


def _innermost(folder: Path, split: str) -> Path:
    """The inner folder of ``seg_train/seg_train/``, as archives are often unpacked."""
    while True:
        below = _folders_in(folder)
        if len(below) != 1 or split_of(below[0]) != split:
            return folder
        folder = folder / below[0]


def _folders_in(folder: Path) -> list[str]:
    """Names of the folders that are not hidden, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))
    except OSError as error:
        raise unreadable_folder(folder, error) from error


def unreadable_folder(folder: Path | str, error: OSError) -> UserError:
    """The error for a folder that cannot be listed."""
    reason = error.strerror or type(error).__name__
    return UserError(f"data.folder: {shown(folder)} cannot be read ({reason}); change its permissions or remove it")


def shown(path: Path | str | Iterable[str]) -> str:
    """A path for the terminal: bytes that are not UTF-8, line breaks and control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(path))
