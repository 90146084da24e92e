"""Has the data changed since a stage ran? Answered from the images' names, sizes and content, never from times.

This module imports no torch: whether there is anything to do is asked before anything else. What is not read as an
image (hidden files, texts) plays no part, nor does where the folder lies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ofa.errors import UserError
from ofa.journal import file_digest
from ofa.readers.splits import SPLIT_RULE, SPLITS

if TYPE_CHECKING:
    from ofa.readers.listing import Listing
    from ofa.recipe import DataConfig

# Up to so many bytes of images, all content is compared; beyond it that of so many images, always the same ones.
MAX_COMPARED_BYTES = 256 * 2**20
SAMPLED_IMAGES = 1000
Rows = list[list[str | int]]

_kept: ContextVar[dict[str, dict[str, Rows]] | None] = ContextVar("identities of this run", default=None)


def data_identity(config: DataConfig, *, splits: tuple[str, ...] = SPLITS) -> Rows:
    """A row for each image of ``splits``: split, class and name as one path, size in bytes, and a digest of its content
    where that is compared; before them one for the classes. Of idx files a row each; of the embedded digits none.

    A stage that reads the training images alone is made from the same data when a test image comes or goes.

    Raises ``UserError`` when the data is not there: a disk that is not mounted is no change.
    """
    kept = _kept.get()
    if kept is None:
        return _chosen(_identity(config), splits)
    key = config.model_dump_json()
    if key not in kept:
        kept[key] = _identity(config)
    return _chosen(kept[key], splits)


@contextmanager
def one_look() -> Iterator[None]:
    """Inside, the data is looked at once, however often it is asked for."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def data_place(config: DataConfig) -> Path | None:
    """The folder that the data comes from; None for the embedded digits."""
    return config.folder or config.idx


def _chosen(identity: dict[str, Rows], splits: tuple[str, ...]) -> Rows:
    return [row for name, rows in identity.items() if name == "" or name in splits for row in rows]


def _identity(config: DataConfig) -> dict[str, Rows]:
    """Rows by split; those under the empty name belong to all."""
    if config.folder is not None:
        return _of_folder(config)
    if config.idx is not None:
        return _of_idx(config)
    return {"": [["split rule", SPLIT_RULE]]}


def _of_idx(config: DataConfig) -> dict[str, Rows]:
    from ofa.readers.idx import idx_files

    pairs = idx_files(config.idx)
    try:
        rows = {
            name: [[path.name, path.stat().st_size, file_digest(path)] for path in paths]
            for name, paths in pairs.items()
        }
    except OSError as error:
        raise UserError(f"data.idx: {error.filename} cannot be read ({error.strerror})") from error
    first = [["split rule", SPLIT_RULE], *rows["train"]]
    return {"": first} | ({"test": rows["t10k"]} if "t10k" in rows else {})


def _of_folder(config: DataConfig) -> dict[str, Rows]:
    from ofa.readers.image_folder import split_folder

    shares = {"validation": config.validation, "test_share": config.test_share, "test": config.test}
    listing, side = split_folder(config.folder, **shares)
    digests = _digests(listing)
    found: dict[str, Rows] = {"": [["split rule", SPLIT_RULE], ["classes", *listing.classes]]}
    for number, split in enumerate(SPLITS):
        found[split] = [
            [f"{split}/{listing.names[row].decode('utf-8', 'replace')}", int(listing.sizes[row]), digests.get(row, "")]
            for row in np.flatnonzero(side == number).tolist()
        ]
    return found


def _digests(listing: Listing) -> dict[int, str]:
    """Digests of the content of all images, or of a sample that depends on their names alone."""
    rows = range(len(listing))
    if listing.sizes.sum() > MAX_COMPARED_BYTES:
        names = [blake2b(name, digest_size=8).digest() for name in listing.names.tolist()]
        rows = sorted(rows, key=names.__getitem__)[:SAMPLED_IMAGES]
    root = os.fsencode(listing.root) + os.fsencode(os.sep)
    return {row: _digest(root + bytes(listing.paths[row])) for row in rows}


def _digest(path: bytes) -> str:
    from ofa.readers.image_folder import content_digest

    try:
        return content_digest(path)
    except OSError as error:  # it is named when the images are read
        return error.strerror or type(error).__name__
