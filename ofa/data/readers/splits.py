"""Which images are trained on, validated on and tested on, where the data does not say.

Splits belong to the data, not to a run. A keyed hash of an image's name decides, and nothing else, so that adding or
removing images moves no other:

1. ``h(name)`` is a number in [0, 1). Below ``test`` the image is tested on, below ``test + validation`` it is validated
   on, else it is trained on.
2. Exact copies stay together: they go where the least of their hashes goes.
3. Classes too small for that are the exception. A class of fewer than three different images is trained on as a whole.
   A larger one always keeps an image to train on. Where its share of a split rounds to one or more images and it got
   none, it gets one from a side that has several.

So an image moves only when a copy of it comes or goes, or within a class that rule 3 is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from ofa.errors import UserError

# Any key would do. With this one the embedded digits come out as 60/20/20 to the image.
SPLIT_KEY = b"once-for-all 0"
SPLIT_RULE = 1  # part of what a supernet was trained on: to be raised when the rule changes
SPLIT_SEED = 0
MIN_CLASS = 3  # different images of a class, below which it is not split
SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)


def spread_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A shuffle ``(n,)`` of which every prefix holds the classes in their own proportions, as nearly as can be."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place, kind="stable")


def hashes(names: Sequence[bytes]) -> np.ndarray:
    """A number in [0, 1) for each name ``(n,)``, the same everywhere and for ever."""
    joined = b"".join(blake2b(name, digest_size=8, key=SPLIT_KEY).digest() for name in names)
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
        validation, test: shares of the images; 0 for a split that is not wanted.
        min_class: a class of fewer different images is not split.
    """
    _, group = np.unique(copies, return_inverse=True)
    key = np.ones(group.max(initial=-1) + 1)
    np.minimum.at(key, group, keys)
    side = np.where(key < test, TEST, np.where(key < test + validation, VALIDATION, TRAIN))
    pairs = np.unique(np.stack([labels, group]), axis=1)  # sorted by class
    starts = np.flatnonzero(np.diff(pairs[0], prepend=-1))
    # A copy with another label could not move without moving an image of another class.
    alone = np.bincount(pairs[1], minlength=len(key)) == 1
    whole = [groups for groups in np.split(pairs[1], starts[1:]) if len(groups)]
    for groups in whole:
        if len(groups) < min_class:
            side[groups] = TRAIN
            continue
        if not (side[groups] == TRAIN).any():
            side[groups[key[groups].argmax()]] = TRAIN
        _fill(side, key, groups[alone[groups]], len(groups), {TEST: test, VALIDATION: validation})
    return side[group].astype(np.uint8)


def _fill(side: np.ndarray, key: np.ndarray, groups: np.ndarray, size: int, shares: dict[int, float]) -> None:
    """Gives a split that a class of ``size`` has no image in, but a share of, one that another side can spare."""
    for split, share in shares.items():
        if share * size < 0.5 or (side[groups] == split).any():
            continue
        for donor in (TRAIN, TEST, VALIDATION):
            owned = groups[side[groups] == donor]
            if len(owned) > 1:
                side[owned[key[owned].argmin()]] = split
                break


def numbered_split(images: np.ndarray, labels: np.ndarray, *, validation: float, test: float) -> np.ndarray:
    """``split_by_hash`` of images ``(n, h, w)`` that have no names: their numbers stand for those.

    Raises ``UserError`` as ``check_split`` does.
    """
    shares = {"validation": validation, "test": test}
    keys = hashes([b"%d" % number for number in range(len(images))])
    contents = [blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    first: dict[bytes, int] = {}
    copies = np.array([first.setdefault(content, number) for number, content in enumerate(contents)])
    side = split_by_hash(keys, labels, copies, **shares)
    check_split(side, labels, copies, **shares)
    return side


def check_shares(*, validation: float, test: float) -> None:
    """Raises ``UserError`` when nothing would be left to train on."""
    if validation + test >= 1:
        raise UserError(
            f"data.val_fraction {validation} and data.test_fraction {test} leave nothing to train on; "
            "make their sum less than 1"
        )


def check_split(side: np.ndarray, labels: np.ndarray, copies: np.ndarray, *, validation: float, test: float) -> None:
    """Raises ``UserError`` when a split that is wanted has no images; arguments are those of ``split_by_hash``."""
    different = np.unique(np.stack([labels, copies]), axis=1)
    sizes = np.bincount(different[0])
    for number, name, key, share in (
        (VALIDATION, "validation", "data.val_fraction", validation),
        (TEST, "test", "data.test_fraction", test),
    ):
        if share and not (side == number).any():
            largest = int(sizes.max())
            if largest < MIN_CLASS:
                remedy = (
                    f"classes need {MIN_CLASS} different images to be split, and the largest has {largest}; add images"
                )
            else:
                enough = np.ceil(50 / largest) / 100
                remedy = f"with {key}: {enough:g} the largest class, of {largest} different images, gives one"
            raise UserError(f"data: no {name} images: {key} {share:g} of {len(labels)} images is none; {remedy}")
