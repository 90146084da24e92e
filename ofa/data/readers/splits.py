"""Splits images into train, validation and test, where the data has no splits of its own.

Splits belong to the data, not to a run. Only a keyed hash of an image's name decides, so that adding or
removing images moves no other image:

1. ``h(name)`` is a number in [0, 1). Below ``test`` the image is a test image, below ``test + validation``
   a validation image, else a training image.
2. Exact copies stay together: they go where the smallest of their hashes goes.
3. Small classes are the exception. A class of fewer than three different images is used for training as a
   whole. A larger one always keeps a training image. Where its fraction of a split rounds to one or more
   images and it has none there, it gets one from a split in which it has several.

So an image moves only when a copy of it is added or removed, or within a class to which rule 3 applies.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from ofa.errors import UserError

# Any key would do. With this one the embedded digits are split into exactly 60/20/20 percent.
SPLIT_KEY = b"once-for-all 0"
SPLIT_RULE = 1  # a part of the data's identity; to be raised when the rule changes
SPLIT_SEED = 0
MIN_CLASS = 3  # different images of a class that is split
SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)


def spread_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A shuffle ``(n,)`` of which every prefix has the proportions of the classes, as closely as possible."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    position = np.empty(len(labels))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        position[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(position, kind="stable")


def hashes(names: Iterable[bytes], *, key: bytes = SPLIT_KEY) -> np.ndarray:
    """A number in [0, 1) for each name ``(n,)``, the same in every process and version."""
    joined = b"".join(blake2b(name, digest_size=8, key=key).digest() for name in names)
    return np.frombuffer(joined, "<u8") / 2.0**64


def split_by_hash(
    keys: np.ndarray,
    labels: np.ndarray,
    copies: np.ndarray,
    *,
    validation: float,
    test: float,
    min_class: int = MIN_CLASS,
) -> np.ndarray:
    """TRAIN, VALIDATION or TEST for each image ``(n,)``.

    Args:
        keys: numbers in [0, 1) ``(n,)``, from ``hashes``.
        labels: the class of each image ``(n,)``.
        copies: equal numbers ``(n,)`` for images that are exact copies of each other.
        validation, test: fractions of the images; 0 for no such split.
        min_class: a class of fewer different images is not split.
    """
    # Rules 1 and 2: a group is an image with its copies, and the smallest of their keys decides.
    _, group = np.unique(copies, return_inverse=True)
    group_key = np.ones(group.max(initial=-1) + 1)
    np.minimum.at(group_key, group, keys)
    group_split = np.where(group_key < test, TEST, np.where(group_key < test + validation, VALIDATION, TRAIN))

    # The groups of each class.
    pairs = np.unique(np.stack([labels, group]), axis=1)  # sorted by class
    starts = np.flatnonzero(np.diff(pairs[0], prepend=-1))
    classes = [groups for groups in np.split(pairs[1], starts[1:]) if len(groups)]

    # Rule 3. Groups with several labels stay: with them, images of another class would move.
    has_one_label = np.bincount(pairs[1], minlength=len(group_key)) == 1
    for groups in classes:
        if len(groups) < min_class:
            group_split[groups] = TRAIN
            continue
        if not (group_split[groups] == TRAIN).any():
            group_split[groups[group_key[groups].argmax()]] = TRAIN
        fractions = {TEST: test, VALIDATION: validation}
        _fill_splits(group_split, group_key, groups[has_one_label[groups]], len(groups), fractions)
    return group_split[group].astype(np.uint8)


def _fill_splits(
    group_split: np.ndarray, group_key: np.ndarray, groups: np.ndarray, size: int, fractions: dict[int, float]
) -> None:
    """Moves, in place, one of a class's ``groups`` to each split that has none of them and should have some.

    ``size`` is the number of groups of the class, those that must not move included.
    """
    for split, fraction in fractions.items():
        if fraction * size < 0.5 or (group_split[groups] == split).any():
            continue
        for donor in (TRAIN, TEST, VALIDATION):
            owned = groups[group_split[groups] == donor]
            if len(owned) > 1:
                group_split[owned[group_key[owned].argmin()]] = split
                break


def numbered_split(images: np.ndarray, labels: np.ndarray, *, validation: float, test: float) -> np.ndarray:
    """``split_by_hash`` of images ``(n, h, w)`` without names, by their indices.

    Raises ``UserError`` as ``check_split`` does.
    """
    shares = {"validation": validation, "test": test}
    keys = hashes([b"%d" % index for index in range(len(images))])
    contents = [blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    first: dict[bytes, int] = {}
    copies = np.array([first.setdefault(content, index) for index, content in enumerate(contents)])
    split_of_image = split_by_hash(keys, labels, copies, **shares)
    check_split(split_of_image, labels, copies, **shares)
    return split_of_image


def check_shares(*, validation: float, test: float) -> None:
    """Raises ``UserError`` when nothing would be left to train on."""
    if validation + test >= 1:
        raise UserError(
            f"data.val_fraction {validation} and data.test_fraction {test} leave nothing to train on; "
            "make their sum less than 1"
        )


def check_split(
    split_of_image: np.ndarray, labels: np.ndarray, copies: np.ndarray, *, validation: float, test: float
) -> None:
    """Raises ``UserError`` when a split has a fraction but no images.

    ``split_of_image`` ``(n,)`` is the result of ``split_by_hash``, the others are its arguments.
    """
    different = np.unique(np.stack([labels, copies]), axis=1)
    class_sizes = np.bincount(different[0])
    for split, name, key, share in (
        (VALIDATION, "validation", "data.val_fraction", validation),
        (TEST, "test", "data.test_fraction", test),
    ):
        if share and not (split_of_image == split).any():
            largest = int(class_sizes.max())
            if largest < MIN_CLASS:
                remedy = (
                    f"classes need {MIN_CLASS} different images to be split, and the largest has {largest}; add images"
                )
            else:
                enough = np.ceil(50 / largest) / 100
                remedy = f"with {key}: {enough:g} the largest class, of {largest} different images, gives one"
            raise UserError(f"data: no {name} images: {key} {share:g} of {len(labels)} images is none; {remedy}")
