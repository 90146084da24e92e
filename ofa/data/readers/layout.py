"""Which sub-folders hold the training, validation and test images: by the usual names, in any case."""

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
# seg_train (Intel's images), train_set, Training-Data, test images, train2017 (COCO)
_DECORATED = re.compile(r"(?:seg[ _-])?([a-z]+)(?:[ _-]?(?:set|data|dataset|images|imgs|split|folder))?[ _-]?\d*")
# What systems and programs leave in folders; like hidden ones, they hold nothing of the user's.
_SYSTEM = ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found", "system volume information")


def is_hidden(name: str) -> bool:
    """Names that begin with a dot, and folders that belong to a system."""
    return name.startswith(".") or name.lower() in _SYSTEM


def split_of(name: str) -> str | None:
    """The split that a folder of this name holds by custom: ``Training``, ``seg_train`` and ``train_set`` are train."""
    match = _DECORATED.fullmatch(name.lower())
    return _SPLIT_OF.get(match[1]) if match else None


def split_folders(root: Path, test: str | None) -> dict[str, Path]:
    """The folder of each split that has one; only ``train``, the root itself, when the root holds the classes.

    ``test`` names the sub-folder to test on, whatever it is called. Raises ``UserError`` where the names leave open
    what is what.
    """
    names = _folders_in(root)
    if test is not None:
        if test not in names or split_of(test) == "train":
            raise UserError(f"data.test: {test!r} must name a folder in {root} other than train")
        names = [name for name in names if name != test]
    named = {split: [name for name in names if split_of(name) == split] for split in SPLITS}
    if test is not None:
        named["test"] = [test]
    for split, several in named.items():
        if len(several) > 1:
            raise UserError(
                f"data.folder: {root} has both {several[0]}/ and {several[1]}/, which can both hold {split} images; "
                "keep one, or name the one to test on in data.test"
            )
    if not named["train"]:
        _refuse_without_train(root, names, [*named["validation"], *named["test"]])
        return {"train": root}
    return {split: _nested(root / several[0], split) for split, several in named.items() if several}


def _refuse_without_train(root: Path, names: list[str], held_out: list[str]) -> None:
    """The root holds the classes, unless its folders look like something else."""
    if held_out:
        raise UserError(f"data.folder: {root} has {held_out[0]}/ but no train/; add train/ with class folders")
    deeper = {}
    for name in names:
        below = {split_of(inner): inner for inner in _folders_in(root / name)}
        if there := below.get("train") or below.get("validation"):
            deeper[name] = there
    if len(deeper) > 1:
        name, there = next(iter(deeper.items()))
        raise UserError(
            f"data.folder: {root} has {there}/ below each class ({name}/{there}); "
            f"put the classes below the splits ({there}/{name}), not the splits below the classes"
        )
    for name, there in deeper.items():
        raise UserError(f"data.folder: {root} has no train/ but {root / name} has {there}/; give that")
    words = [_SPLIT_OF.keys() & re.split(r"[^a-z]+", name.lower()) for name in names]
    if names and all(words):
        raise UserError(
            f"data.folder: {root} has {names[0]}/, which looks like a split, not a class; "
            "name the splits train/, val/ and test/"
        )


def _nested(folder: Path, split: str) -> Path:
    """Archives are often unpacked into a folder of their own name: ``seg_train/seg_train/``."""
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
    reason = error.strerror or type(error).__name__
    return UserError(f"data.folder: {shown(folder)} cannot be read ({reason}); change its permissions or remove it")


def shown(path: Path | str | Iterable[str]) -> str:
    """A path for the screen: bytes that are no UTF-8, line breaks and control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(path))
