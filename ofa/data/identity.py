"""Has the data changed since a stage ran? Answered from the images' names, sizes and content, never from times.

This module imports no torch: whether there is anything to do is asked before anything else. What is not read as an
image (hidden files, texts) plays no part, nor does where the folder lies.
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

# Up to so many bytes of a split, all content is compared; beyond it that of at most about so many images.
MAX_COMPARED_BYTES = 256 * 2**20
SAMPLED_IMAGES = 1000
Row = list[str | int]
Rows = list[Row]
_Known = dict[str, list[tuple[str, Row]]]  # of each split, or under the empty name of all: the image, and its row


def data_identity(
    config: DataConfig, *, splits: tuple[str, ...] = SPLITS, left_out: Mapping[str, str] | None = None
) -> Rows:
    """A row for each image of ``splits``: split, class and name as one path, size in bytes, and a digest of its content
    where that is compared; before them one for the classes. Of idx files a row each; of the embedded digits none.

    A stage that reads the training images alone is made from the same data when a test image comes or goes. Images that
    a run has ``left_out``, since they cannot be read (path to digest, as ``unreadable_images`` gives them), are no part
    of it while they are as they were: deleting them, as a run asks for, changes nothing.

    Raises ``UserError`` when the data is not there: a disk that is not mounted is no change.
    """
    known = look(("identity", config.model_dump_json()), lambda: _identity(config))
    rows = [pair for name, pairs in known.items() if name == "" or name in splits for pair in pairs]
    return [row for image, row in rows if not _is_left_out(config, image, row, left_out or {})]


def _is_left_out(config: DataConfig, image: str, row: Row, left_out: Mapping[str, str]) -> bool:
    content = left_out.get(image)
    return bool(content) and content == (row[2] or image_digest(os.fsencode(config.folder / image)))


def data_place(config: DataConfig) -> Path | None:
    """The folder that the data comes from; None for the embedded digits."""
    return config.folder or config.idx


def _identity(config: DataConfig) -> _Known:
    if config.folder is not None:
        return _of_folder(config)
    if config.idx is not None:
        return _of_idx(config)
    return {"": [("", ["split rule", SPLIT_RULE])]}


def _of_idx(config: DataConfig) -> _Known:
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


def _of_folder(config: DataConfig) -> _Known:
    from ofa.data.readers.image_folder import split_folder

    shares = {"val_fraction": config.val_fraction, "test_fraction": config.test_fraction, "test": config.test}
    listing, side = split_folder(config.folder, **shares)
    found: _Known = {"": [("", ["split rule", SPLIT_RULE]), ("", ["classes", *listing.classes])]}
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(side == number)
        names, sizes, paths = listing.names[rows].tolist(), listing.sizes[rows].tolist(), listing.paths[rows].tolist()
        digests = _digests(listing, rows)
        found[split] = [
            (os.fsdecode(path), [f"{split}/{name.decode('utf-8', 'replace')}", size, digest])
            for name, size, path, digest in zip(names, sizes, paths, digests, strict=True)
        ]
    return found


def _digests(listing: Listing, rows: np.ndarray) -> list[str]:
    """Of the content of all images of a split, or of a sample that depends on their names alone, and "" of others.

    Other splits play no part in what is compared: a test image that comes must not change what training is made from.
    """
    names, compared = listing.names[rows].tolist(), range(len(rows))
    if listing.sizes[rows].sum() > MAX_COMPARED_BYTES:
        # An image is in the sample by its own name, whichever others there are; only a doubled split halves the share.
        halved = max(0, math.ceil(math.log2(len(rows) / SAMPLED_IMAGES)))
        hashed = [int.from_bytes(blake2b(name, digest_size=8).digest(), "big") for name in names]
        compared = [number for number in compared if hashed[number] < 2 ** (64 - halved)]
    digests = [""] * len(rows)
    root = os.fsencode(listing.root) + os.fsencode(os.sep)
    for number in compared:
        digests[number] = image_digest(root + bytes(listing.paths[rows[number]]))
    return digests


def image_digest(path: bytes) -> str:
    """A digest of a file's content, or why it has none."""
    from ofa.data.readers.image_folder import content_digest

    try:
        return content_digest(path)
    except OSError as error:  # it is named when the images are read
        return error.strerror or type(error).__name__
