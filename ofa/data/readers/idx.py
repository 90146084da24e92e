"""A folder in MNIST's file format: ``train-images-idx3-ubyte[.gz]``, its labels, and ``t10k-*`` as the test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ofa.data.readers.idx_file import read_idx
from ofa.data.readers.source import Source, Split
from ofa.data.readers.splits import SPLITS, check_shares, numbered_split
from ofa.errors import UserError


def idx_source(folder: Path, *, val_fraction: float, test_fraction: float) -> Source:
    """The images of a folder in the format of http://yann.lecun.com/exdb/mnist, whose classes are the training labels.

    Raises ``UserError`` for missing, damaged or inconsistent files.
    """
    files = idx_files(folder)
    images, labels = _read_pair(*files["train"])
    class_labels = np.unique(labels)
    classes = tuple(str(label) for label in class_labels)
    if len(classes) < 2:
        raise UserError(f"{files['train'][1]} has only the class {classes[0]!r}; a classifier needs at least two")

    # Without test files, some of the training images become the test split.
    all_images = Split(images, np.searchsorted(class_labels, labels))
    test_files = files.get("t10k")
    shares = {"validation": val_fraction, "test": 0.0 if test_files else test_fraction}
    check_shares(**shares)
    split_of_image = numbered_split(images, all_images.labels, **shares)
    splits = {name: all_images[np.flatnonzero(split_of_image == index)] for index, name in enumerate(SPLITS)}

    if test_files:
        images, labels = _read_pair(*test_files)
        if len(unknown := np.setdiff1d(labels, class_labels)):
            raise UserError(
                f"{test_files[1]} has the label {unknown[0]}, which {files['train'][1]} lacks; fix the files"
            )
        splits["test"] = Split(images, np.searchsorted(class_labels, labels))
    return Source("idx", classes, splits)


def idx_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The files with images and labels of ``train`` and, if there are any, ``t10k``.

    Raises ``UserError`` without training files, and when one file of a pair is missing.
    """
    if not folder.is_dir():
        raise UserError(f"data.idx: {folder} is not a folder; give the path of an existing one")
    pairs = {name: _pair(folder, name) for name in ("train", "t10k")}
    if pairs["train"] is None:
        raise UserError(f"data.idx: {folder} has no train-images-idx3-ubyte[.gz]; give the folder that holds it")
    return {name: pair for name, pair in pairs.items() if pair}


def _pair(folder: Path, name: str) -> tuple[Path, Path] | None:
    names = [f"{name}-images-idx3-ubyte", f"{name}-labels-idx1-ubyte"]
    paths = [next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None) for stem in names]
    if paths == [None, None]:
        return None
    if None in paths:
        present, missing = (0, 1) if paths[1] is None else (1, 0)
        raise UserError(
            f"{paths[present]} is there but {folder / names[missing]}[.gz] is missing; images and labels go together"
        )
    return paths[0], paths[1]


def _read_pair(image_file: Path, label_file: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if len(images) != len(labels) or len(images) == 0:
        raise UserError(
            f"{image_file} holds {len(images)} images but {label_file} holds {len(labels)} labels; "
            "there must be one label an image, and at least one"
        )
    return images, labels
