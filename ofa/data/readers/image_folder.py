"""A folder of images: which are trained on, validated on and tested on. No image is decoded here.

This module imports no torch: whether the data has changed is asked before anything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ofa.data.readers.listing import Listing, list_images
from ofa.data.readers.one_look import look
from ofa.data.readers.source import Source, Split
from ofa.data.readers.splits import SPLITS, TEST, TRAIN, VALIDATION, check_shares, check_split, hashes, split_by_hash

# Of an image that has another's size, so much of its beginning and end tells whether it is a copy.
_COMPARED_BYTES = 4096
_CHUNK_BYTES = 2**20


def folder_source(root: Path, *, val_fraction: float, test_fraction: float, test: str | None) -> Source:
    """``train/CLASS/**``, ``val/CLASS/**`` and ``test/CLASS/**``, or only ``CLASS/**``: see ``list_images``.

    ``test`` names the sub-folder to use as the test split. Raises ``UserError``.
    """
    listing, side = split_folder(root, val_fraction=val_fraction, test_fraction=test_fraction, test=test)
    whole = Split(listing.paths, listing.labels, root)
    splits = {name: whole[np.flatnonzero(side == row)] for row, name in enumerate(SPLITS)}
    return Source("folder", listing.classes, splits, listing.unused)


def split_folder(
    root: Path, *, val_fraction: float, test_fraction: float, test: str | None
) -> tuple[Listing, np.ndarray]:
    """The images below ``root``, and TRAIN, VALIDATION or TEST for each ``(n,)``.

    Without a test folder, half of the validation images become the test split, or ``test_fraction`` of all images where
    there is no validation folder either. Raises ``UserError``.
    """
    key = ("folder", root, val_fraction, test_fraction, test)
    return look(key, lambda: _split(root, val_fraction=val_fraction, test_fraction=test_fraction, test=test))


def _split(root: Path, *, val_fraction: float, test_fraction: float, test: str | None) -> tuple[Listing, np.ndarray]:
    listing = list_images(root, test=test)
    side = np.array([SPLITS.index(name) for name in listing.folders], np.uint8)[listing.split]
    has = {name: name in listing.folders for name in SPLITS}
    if has["validation"] and has["test"]:
        return listing, side
    if has["validation"]:  # half of it becomes the test split
        pool, shares = side == VALIDATION, {"validation": 0.0, "test": 0.5}
    else:
        pool, shares = side == TRAIN, {"validation": val_fraction, "test": 0.0 if has["test"] else test_fraction}
    check_shares(**shares)
    rows = np.flatnonzero(pool)
    labels = listing.labels[rows]
    copies = _copies(listing, rows)
    own = split_by_hash(hashes(listing.names[rows]), labels, copies, **shares)
    check_split(own, labels, copies, **shares)
    side[rows] = np.where(own == TRAIN, VALIDATION, TEST) if has["validation"] else own
    return listing, side


def _copies(listing: Listing, rows: np.ndarray) -> np.ndarray:
    """Equal numbers ``(n,)`` for files with the same content.

    Only files of one size can be copies. Of those the beginnings and ends are compared, and where these agree, the
    whole: pictures without compression that share a white ground differ in their middle alone.
    """
    root = os.fsencode(listing.root) + os.fsencode(os.sep)
    paths = [root + path for path in listing.paths[rows].tolist()]
    sizes = listing.sizes[rows].tolist()
    found = np.arange(len(rows))
    # Empty files are no images, and would all go to one side.
    same_size = _groups((row for row in range(len(rows)) if sizes[row]), lambda row: sizes[row])
    same_ends = [group for rows in same_size for group in _groups(rows, lambda row: _ends(paths[row], sizes[row]))]
    for rows in same_ends:
        whole = sizes[rows[0]] <= 2 * _COMPARED_BYTES
        for group in [rows] if whole else _groups(rows, lambda row: content_digest(paths[row])):
            found[group] = group[0]
    return found


def _groups(rows: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Rows of equal keys, where there are several. What cannot be read is no copy; it is named when all are read."""
    groups: dict[Hashable, list[int]] = {}
    for row in rows:
        try:
            groups.setdefault(key(row), []).append(row)
        except OSError:
            continue
    return [group for group in groups.values() if len(group) > 1]


def _ends(path: bytes, size: int) -> bytes:
    """A digest of the beginning and the end of a file."""
    # Without Python's own layers of files: this is asked of every image.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        content = os.read(file, _COMPARED_BYTES)
        if size > _COMPARED_BYTES:
            os.lseek(file, max(_COMPARED_BYTES, size - _COMPARED_BYTES), os.SEEK_SET)
            content += os.read(file, _COMPARED_BYTES)
    finally:
        os.close(file)
    return blake2b(content, digest_size=16).digest()


def content_digest(path: bytes) -> str:
    """A digest of a file's content. Raises ``OSError``."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        found = blake2b(digest_size=16)
        while content := os.read(file, _CHUNK_BYTES):
            found.update(content)
    finally:
        os.close(file)
    return found.hexdigest()
