"""A folder of images and its splits. No image is decoded here.

This module imports no torch, because a run with nothing to do must end at once.
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

_COMPARED_BYTES = 4096  # at the beginning and at the end of images of equal size, to find copies
_CHUNK_BYTES = 2**20


def folder_source(root: Path, *, val_fraction: float, test_fraction: float, test: str | None) -> Source:
    """The images ``train/CLASS/**``, ``val/CLASS/**`` and ``test/CLASS/**``, or only ``CLASS/**``: see ``list_images``.

    ``test`` names the sub-folder to use as the test split. Raises ``UserError`` as ``split_folder`` does.
    """
    listing, split_of_image = split_folder(root, val_fraction=val_fraction, test_fraction=test_fraction, test=test)
    all_images = Split(listing.paths, listing.labels, root)
    splits = {name: all_images[np.flatnonzero(split_of_image == index)] for index, name in enumerate(SPLITS)}
    return Source("folder", listing.classes, splits, listing.unused)


def split_folder(
    root: Path, *, val_fraction: float, test_fraction: float, test: str | None
) -> tuple[Listing, np.ndarray]:
    """The images below ``root``, and TRAIN, VALIDATION or TEST for each ``(n,)``.

    Without a test folder, half of the validation images become the test split, or ``test_fraction`` of all
    images where there is no validation folder either.

    Raises ``UserError`` when the folder cannot be read, it is unclear what its sub-folders mean, or a split
    is empty.
    """
    key = ("folder", root, val_fraction, test_fraction, test)
    return look(key, lambda: _split(root, val_fraction=val_fraction, test_fraction=test_fraction, test=test))


def _split(root: Path, *, val_fraction: float, test_fraction: float, test: str | None) -> tuple[Listing, np.ndarray]:
    listing = list_images(root, test=test)
    split_of_image = np.array([SPLITS.index(name) for name in listing.folders], np.uint8)[listing.split]
    has = {name: name in listing.folders for name in SPLITS}
    if has["validation"] and has["test"]:
        return listing, split_of_image

    # What has no folder of its own is taken from another split.
    if has["validation"]:
        pool, shares = split_of_image == VALIDATION, {"validation": 0.0, "test": 0.5}
    else:
        pool = split_of_image == TRAIN
        shares = {"validation": val_fraction, "test": 0.0 if has["test"] else test_fraction}
    check_shares(**shares)
    rows = np.flatnonzero(pool)
    labels = listing.labels[rows]
    copies = _copies(listing, rows)
    new_split = split_by_hash(hashes(listing.names[rows]), labels, copies, **shares)
    check_split(new_split, labels, copies, **shares)
    split_of_image[rows] = np.where(new_split == TRAIN, VALIDATION, TEST) if has["validation"] else new_split
    return listing, split_of_image


def _copies(listing: Listing, rows: np.ndarray) -> np.ndarray:
    """Numbers ``(n,)`` of the images ``rows``, equal for files with the same content.

    Only files of one size can be copies. Of those the beginnings and ends are compared, and where these
    agree, the whole files: uncompressed images with a white background may differ only in the middle.
    """
    root = os.fsencode(listing.root) + os.fsencode(os.sep)
    paths = [root + path for path in listing.paths[rows].tolist()]
    sizes = listing.sizes[rows].tolist()
    copies = np.arange(len(rows))
    # Empty files are no images, and as copies they would all be in one split.
    same_size = _groups((row for row in range(len(rows)) if sizes[row]), lambda row: sizes[row])
    same_ends = [group for rows in same_size for group in _groups(rows, lambda row: _ends(paths[row], sizes[row]))]
    for rows in same_ends:
        compared_whole = sizes[rows[0]] <= 2 * _COMPARED_BYTES
        for group in [rows] if compared_whole else _groups(rows, lambda row: content_digest(paths[row])):
            copies[group] = group[0]
    return copies


def _groups(rows: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Groups of two or more rows with equal keys. Unreadable files are left out: they are reported later."""
    groups: dict[Hashable, list[int]] = {}
    for row in rows:
        try:
            groups.setdefault(key(row), []).append(row)
        except OSError:
            continue
    return [group for group in groups.values() if len(group) > 1]


def _ends(path: bytes, size: int) -> bytes:
    """A digest of the beginning and the end of a file."""
    # Without Python's file objects, because this runs for every image.
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
        digest = blake2b(digest_size=16)
        while content := os.read(file, _CHUNK_BYTES):
            digest.update(content)
    finally:
        os.close(file)
    return digest.hexdigest()
