"""Where images come from: the embedded digits, idx files, image folders in timm's layout; and how they are split.

Splits belong to the data, not to a run: they come from a fixed seed, so that a test image never becomes a training
image because a run was given another seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from timm.data.readers import create_reader

from ofa.errors import UserError
from ofa.idx_file import read_idx
from ofa.image_file import read_image

if TYPE_CHECKING:
    from ofa.recipe import DataConfig

SPLIT_SEED = 0
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")


@dataclass(frozen=True)
class Split:
    """Labels ``(n,)`` int64 and images: uint8 ``(n, h, w)``, or, below ``root``, byte-string paths ``(n,)``.

    Paths are one numpy array because a list of a million strings is copied into every forked worker, page by page, as
    reference counts change.
    """

    images: np.ndarray
    labels: np.ndarray
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray) -> Split:
        return Split(self.images[rows], self.labels[rows], self.root)

    def path(self, index: int) -> Path:
        return self.root / os.fsdecode(self.images[index])

    def open(self, index: int, mode: str) -> Image.Image:
        """One decoded image in PIL's ``mode``, "RGB" or "L". Raises ``UnreadableImage`` for a file that is none."""
        if self.root is None:
            return Image.fromarray(self.images[index]).convert(mode)
        return read_image(self.path(index), mode)


@dataclass(frozen=True)
class Source:
    """``splits`` has the keys train, validation and test."""

    kind: str
    classes: tuple[str, ...]
    splits: dict[str, Split]


def open_source(config: DataConfig, *, resolution: int) -> Source:
    """The images that ``data:`` names. Raises ``UserError``."""
    if config.folder is not None:
        options = {"validation": config.validation, "test_share": config.test_share, "test": config.test}
        return folder_source(Path(config.folder), **options)
    if config.idx is not None:
        return idx_source(Path(config.idx), validation=config.validation, test_share=config.test_share)
    return digits_source(resolution)


def digits_source(resolution: int) -> Source:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, enlarged to ``resolution`` (bicubic), split 60/20/20."""
    digits = load_digits()
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    size = (resolution, resolution)
    images = np.stack([Image.fromarray(image).resize(size, Image.Resampling.BICUBIC) for image in small])
    classes = tuple(str(digit) for digit in range(10))
    split = Split(images, digits.target.astype(np.int64))
    return Source("digits", classes, _split_in_three(split, classes, validation=0.2, test_share=0.2))


# -- splits -----------------------------------------------------------------------------------------------------------


def spread_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A shuffle ``(n,)`` of which every prefix holds the classes in their own proportions, as nearly as can be."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place, kind="stable")


def _split_off(split: Split, count: float, classes: tuple[str, ...], name: str) -> tuple[Split, Split]:
    """What stays and ``count`` images that leave, stratified, both in the order of ``split``."""
    try:
        kept, taken = train_test_split(
            np.arange(len(split)), test_size=round(count), stratify=split.labels, random_state=SPLIT_SEED
        )
    except ValueError as error:
        counts = np.bincount(split.labels, minlength=len(classes))
        raise UserError(
            f"data: no {name} split of {round(count)} images can be taken from {len(split)} images of {len(classes)} "
            f"classes (the smallest, {classes[counts.argmin()]!r}, has {counts.min()}); add images or change the share"
        ) from error
    return split[np.sort(kept)], split[np.sort(taken)]


def _split_in_three(
    split: Split, classes: tuple[str, ...], *, validation: float, test_share: float
) -> dict[str, Split]:
    if validation + test_share >= 1:
        raise UserError(
            f"data.validation {validation} and data.test_share {test_share} leave nothing to train on; "
            "make their sum less than 1"
        )
    rest, test = _split_off(split, test_share * len(split), classes, "test")
    train, held_out = _split_off(rest, validation * len(split), classes, "validation")
    return {"train": train, "validation": held_out, "test": test}


def _two_classes(classes: tuple[str, ...], where: Path) -> None:
    if len(classes) < 2:
        raise UserError(f"{where} has only the class {classes[0]!r}; a classifier needs at least two")


# -- idx files --------------------------------------------------------------------------------------------------------


def idx_source(folder: Path, *, validation: float, test_share: float) -> Source:
    """MNIST's file format (http://yann.lecun.com/exdb/mnist): ``train-*`` and, when there is one, ``t10k-*`` as test.

    The classes are the label values found in ``train-*``. Raises ``UserError`` for missing, damaged or uneven files.
    """
    _is_folder("data.idx", folder)
    parts = {name: _idx_pair(folder, name) for name in ("train", "t10k")}
    if parts["train"] is None:
        raise UserError(f"data.idx: {folder} has no train-images-idx3-ubyte[.gz]; give the folder that holds it")
    images, labels, files = parts["train"]
    values = np.unique(labels)
    classes = tuple(str(value) for value in values)
    _two_classes(classes, files[1])
    split = Split(images, np.searchsorted(values, labels))
    if parts["t10k"] is None:
        splits = _split_in_three(split, classes, validation=validation, test_share=test_share)
    else:
        images, labels, test_files = parts["t10k"]
        unknown = np.setdiff1d(labels, values)
        if len(unknown):
            raise UserError(f"{test_files[1]} has the label {unknown[0]}, which {files[1]} lacks; mend the files")
        files += test_files
        train, held_out = _split_off(split, validation * len(split), classes, "validation")
        test = Split(images, np.searchsorted(values, labels))
        splits = {"train": train, "validation": held_out, "test": test}
    return Source("idx", classes, splits)


def _idx_pair(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, list[Path]] | None:
    names = [f"{name}-images-idx3-ubyte", f"{name}-labels-idx1-ubyte"]
    found = [next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None) for stem in names]
    if found == [None, None]:
        return None
    if None in found:
        have, lack = (0, 1) if found[1] is None else (1, 0)
        raise UserError(
            f"{found[have]} is there but {folder / names[lack]}[.gz] is missing; images and labels go together"
        )
    images, labels = read_idx(found[0], 3), read_idx(found[1], 1)
    if len(images) != len(labels) or len(images) == 0:
        raise UserError(
            f"{found[0]} holds {len(images)} images but {found[1]} holds {len(labels)} labels; "
            "there must be one label an image, and at least one"
        )
    return images, labels, found


# -- image folders ----------------------------------------------------------------------------------------------------


def folder_source(root: Path, *, validation: float, test_share: float, test: str | None) -> Source:
    """timm's layout: ``train/CLASS/*.jpg``, and ``val/`` or ``validation/``, and ``test/``; or only ``CLASS/*.jpg``.

    ``test`` names the sub-folder to use as the test split. Without one, half of the validation images become the test
    split, or ``test_share`` of all images where there is no validation folder either. Raises ``UserError``.
    """
    _is_folder("data.folder", root)
    folders = _layout(root, test)
    scanned = {name: _scan(folder) for name, folder in folders.items()}
    classes = scanned["train"][1]
    _two_classes(classes, folders["train"])
    for name, (_, names) in scanned.items():
        if extra := [folder for folder in names if folder not in classes]:
            raise UserError(
                f"{folders[name]} has the class {extra[0]!r}, which {folders['train']} lacks; rename or remove it"
            )
    splits = {name: _folder_split(root, paths, classes) for name, (paths, _) in scanned.items()}
    if "validation" in splits and "test" not in splits:
        held_out = splits["validation"]
        splits["validation"], splits["test"] = _split_off(held_out, len(held_out) / 2, classes, "test")
    elif "test" in splits and "validation" not in splits:
        train, held_out = _split_off(splits["train"], validation * len(splits["train"]), classes, "validation")
        splits = {"train": train, "validation": held_out, "test": splits["test"]}
    elif len(splits) == 1:
        splits = _split_in_three(splits["train"], classes, validation=validation, test_share=test_share)
    return Source("folder", classes, splits)


def _is_folder(key: str, folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{key}: {folder} is not a folder; give the path of an existing one")


def _layout(root: Path, test: str | None) -> dict[str, Path]:
    """Folder of each split that has one."""
    if test is not None and (Path(test).name != test or test in ("train", "..") or not (root / test).is_dir()):
        raise UserError(f"data.test: {test!r} must name a folder in {root} other than train")
    there = [name for name in ("train", "val", "validation", "test") if (root / name).is_dir()]
    if "train" not in there:
        if there or test is not None:
            raise UserError(
                f"data.folder: {root} has {(there or [test])[0]}/ but no train/; add train/ with class folders"
            )
        if deeper := sorted(chain(root.glob("*/train"), root.glob("*/val"), root.glob("*/validation"))):
            raise UserError(
                f"data.folder: {root} has no train/ but {deeper[0].parent} has {deeper[0].name}/; give that"
            )
        return {"train": root}
    held_out = [name for name in ("val", "validation") if name in there and name != test]
    if len(held_out) == 2:
        raise UserError(f"data.folder: {root} has both val/ and validation/; keep one, or name one in data.test")
    folders = {"train": root / "train"}
    if held_out:
        folders["validation"] = root / held_out[0]
    if test is not None or "test" in there:
        folders["test"] = root / (test or "test")
    return folders


def _scan(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Images in timm's order, and class names in timm's order. Hidden files and folders are left out."""
    try:
        reader = create_reader("", root=str(folder), input_key=";".join(EXTENSIONS))
        paths = [path for path in (Path(name) for name, _ in reader.samples) if not _hidden(folder, path)]
    except RuntimeError:
        paths = []
    if not paths:
        raise UserError(f"{folder} holds no images ({', '.join(EXTENSIONS)}); give class folders with images")
    parents = {path.parent for path in paths}
    if folder in parents:
        loose = next(path for path in paths if path.parent == folder)
        raise UserError(f"{loose} lies in no class folder; put it in {folder / 'CLASS'}, the folder named by its class")
    leaves = (Path(place) for place, below, _ in os.walk(folder, followlinks=True) if not _visible(below))
    if empty := sorted(leaf for leaf in leaves if leaf not in parents and not _hidden(folder, leaf)):
        raise UserError(f"class {empty[0].name!r} has no images: {empty[0]}; add images to that folder or remove it")
    names = {parent.name for parent in parents}
    return paths, tuple(name for name in reader.class_to_idx if name in names)


def _visible(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _hidden(folder: Path, path: Path) -> bool:
    parts = path.relative_to(folder).parts
    return len(_visible(parts)) < len(parts)


def _folder_split(root: Path, paths: list[Path], classes: tuple[str, ...]) -> Split:
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[path.parent.name] for path in paths], np.int64)
    return Split(np.array([os.fsencode(path.relative_to(root)) for path in paths]), labels, root)
