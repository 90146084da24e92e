"""The identity of the data: names, sizes and content of the images, from which a run sees that the data has changed.

Neither times, nor the folder's own path, nor files that are not read as images (hidden files, texts) are
part of it. This module imports no torch, because a run with nothing to do must end at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ofa.data.readers.one_look import look
from ofa.data.readers.splits import SPLIT_RULE, SPLITS
from ofa.errors import UserError
from ofa.pipeline.manifest import file_digest

if TYPE_CHECKING:
    from ofa.config.data import DataConfig
    from ofa.data.readers.listing import Listing

# All images of a split are compared by content up to so many bytes, of a larger split at most about so many
# images.
MAX_COMPARED_BYTES = 256 * 2**20
SAMPLED_IMAGES = 1000
Row = list[str | int]
Rows = list[Row]
_SplitRows = dict[str, list[tuple[str, Row]]]  # (image, row) by split; rows of all splits have the key ""


def data_identity(
    config: DataConfig, *, splits: tuple[str, ...] = SPLITS, left_out: Mapping[str, str] | None = None
) -> Rows:
    """The rows that identify the data of ``splits``.

    First the split rule and the classes. Then for each image: split, class and name as one path, its size
    in bytes, and a digest of its content ("" where content is not compared). idx files have a row each, the
    embedded digits none.

    Only the images of ``splits`` count: a new test image does not change the data of a stage that reads the
    training images alone.

    Args:
        left_out: unreadable images that a run leaves out (path to digest, see ``unreadable_images``). They
            do not count while they are unchanged, so that a user may delete them, as the run asks for.

    Raises ``UserError`` when the data is missing: a disk that is not mounted is no change of the data.
    """
    rows_of = look(("identity", config.model_dump_json()), lambda: _rows_by_split(config))
    rows = [pair for name, pairs in rows_of.items() if name == "" or name in splits for pair in pairs]
    return [row for image, row in rows if not _is_left_out(config, image, row, left_out or {})]


def _is_left_out(config: DataConfig, image: str, row: Row, left_out: Mapping[str, str]) -> bool:
    content = left_out.get(image)
    return bool(content) and content == (row[2] or image_digest(os.fsencode(config.folder / image)))


def data_folder(config: DataConfig) -> Path | None:
    """The folder that the data comes from; None for the embedded digits."""
    return config.folder or config.idx


def _rows_by_split(config: DataConfig) -> _SplitRows:
    if config.folder is not None:
        return _folder_rows(config)
    if config.idx is not None:
        return _idx_rows(config)
    return {"": [("", ["split rule", SPLIT_RULE])]}


def _idx_rows(config: DataConfig) -> _SplitRows:
    from ofa.data.readers.idx import idx_files

    pairs = idx_files(config.idx)
    try:
        rows = {
            name: [("", [path.name, path.stat().st_size, file_digest(path)]) for path in paths]
            for name, paths in pairs.items()
        }
    except OSError as error:
        raise UserError(f"data.idx: {error.filename} cannot be read ({error.strerror})") from error
    first = [("", ["split rule", SPLIT_RULE]), *rows["train"]]
    return {"": first} | ({"test": rows["t10k"]} if "t10k" in rows else {})


def _folder_rows(config: DataConfig) -> _SplitRows:
    from ofa.data.readers.image_folder import split_folder

    shares = {"val_fraction": config.val_fraction, "test_fraction": config.test_fraction, "test": config.test}
    listing, split_of_image = split_folder(config.folder, **shares)
    rows_of: _SplitRows = {"": [("", ["split rule", SPLIT_RULE]), ("", ["classes", *listing.classes])]}
    for index, split in enumerate(SPLITS):
        rows = np.flatnonzero(split_of_image == index)
        names, sizes, paths = listing.names[rows].tolist(), listing.sizes[rows].tolist(), listing.paths[rows].tolist()
        digests = _digests(listing, rows)
        rows_of[split] = [
            (os.fsdecode(path), [f"{split}/{name.decode('utf-8', 'replace')}", size, digest])
            for name, size, path, digest in zip(names, sizes, paths, digests, strict=True)
        ]
    return rows_of


def _digests(listing: Listing, rows: np.ndarray) -> list[str]:
    """Digests of the content of the images of a split ("" of those whose content is not compared).

    All images of a small split are compared, and a sample of a large one. The sample depends on the images'
    names and their number in this split. Other splits do not count: a new test image must not change the
    data of training.
    """
    names, compared = listing.names[rows].tolist(), range(len(rows))
    if listing.sizes[rows].sum() > MAX_COMPARED_BYTES:
        # Sampled by the hash of each image's own name, so that other images change nothing. The fraction is
        # a power of two, so that it changes only when the split's size doubles.
        halvings = max(0, math.ceil(math.log2(len(rows) / SAMPLED_IMAGES)))
        hashed = [int.from_bytes(blake2b(name, digest_size=8).digest(), "big") for name in names]
        compared = [index for index in compared if hashed[index] < 2 ** (64 - halvings)]

    digests = [""] * len(rows)
    root = os.fsencode(listing.root) + os.fsencode(os.sep)
    for index in compared:
        digests[index] = image_digest(root + bytes(listing.paths[rows[index]]))
    return digests


def image_digest(path: bytes) -> str:
    """A digest of a file's content, or the system's error message where it cannot be read."""
    from ofa.data.readers.image_folder import content_digest

    try:
        return content_digest(path)
    except OSError as error:  # reported when the images are read
        return error.strerror or type(error).__name__
