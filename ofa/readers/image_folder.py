"""A folder of images: which are trained on, validated on and tested on. No image is decoded here.

This module imports no torch: whether the data has changed is asked before anything else.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ofa.readers.listing import Listing, list_images
from ofa.readers.source import Source, Split
from ofa.readers.splits import SPLITS, TEST, TRAIN, VALIDATION, check_shares, check_split, hashes, split_by_hash

# Of an image that has another's size, so much of its beginning and end tells whether it is a copy.
_COMPARED_BYTES = 4096


def folder_source(root: Path, *, validation: float, test_share: float, test: str | None) -> Source:
    """``train/CLASS/**``, ``val/CLASS/**`` and ``test/CLASS/**``, or only ``CLASS/**``: see ``list_images``.

    ``test`` names the sub-folder to use as the test split. Raises ``UserError``.
    """
    listing, side = split_folder(root, validation=validation, test_share=test_share, test=test)
    whole = Split(listing.paths, listing.labels, root)
    splits = {name: whole[np.flatnonzero(side == row)] for row, name in enumerate(SPLITS)}
    return Source("folder", listing.classes, splits, listing.unused)


def split_folder(root: Path, *, validation: float, test_share: float, test: str | None) -> tuple[Listing, np.ndarray]:
    """The images below ``root``, and TRAIN, VALIDATION or TEST for each ``(n,)``.

    Without a test folder, half of the validation images become the test split, or ``test_share`` of all images where
    there is no validation folder either. Raises ``UserError``.
    """
    listing = list_images(root, test=test)
    side = np.array([SPLITS.index(name) for name in listing.folders], np.uint8)[listing.split]
    has = {name: name in listing.folders for name in SPLITS}
    if has["validation"] and has["test"]:
        return listing, side
    if has["validation"]:  # half of it becomes the test split
        pool, shares = side == VALIDATION, {"validation": 0.0, "test": 0.5}
    else:
        pool, shares = side == TRAIN, {"validation": validation, "test": 0.0 if has["test"] else test_share}
    check_shares(**shares)
    rows = np.flatnonzero(pool)
    labels = listing.labels[rows]
    copies = _copies(listing, rows)
    own = split_by_hash(hashes(listing.names[rows]), labels, copies, **shares)
    check_split(own, labels, copies, **shares)
    side[rows] = np.where(own == TRAIN, VALIDATION, TEST) if has["validation"] else own
    return listing, side


def _copies(listing: Listing, rows: np.ndarray) -> np.ndarray:
    """Equal numbers ``(n,)`` for files with the same content, as far as their size, beginning and end tell."""
    sizes = listing.sizes[rows]
    found = np.arange(len(rows))
    _, group, count = np.unique(sizes, return_inverse=True, return_counts=True)
    first: dict[tuple[int, bytes], int] = {}
    for row in np.flatnonzero(count[group] > 1):
        path = listing.root / os.fsdecode(listing.paths[rows[row]])
        try:
            key = int(sizes[row]), _ends(path, int(sizes[row]))
        except OSError:  # what cannot be read is found out, and named, when all images are read
            continue
        found[row] = first.setdefault(key, row)
    return found


def _ends(path: Path, size: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        content = file.read(_COMPARED_BYTES)
        if size > _COMPARED_BYTES:
            file.seek(max(_COMPARED_BYTES, size - _COMPARED_BYTES))
            content += file.read(_COMPARED_BYTES)
    return blake2b(content, digest_size=16).digest()
