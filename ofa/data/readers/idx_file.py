"""MNIST's file format, read without trusting it: a compressed file may claim, or hold, more than a machine has."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ofa.errors import UserError

IDX_TYPE = 0x08  # unsigned byte
# All images of a file lie in memory together; EMNIST, the largest of its kind, has 0.6 GB.
MAX_IDX_BYTES = 2**32
PIECE = 2**20


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in an idx file, ``.gz`` or not. Raises ``UserError`` for one that is damaged or too large.

    No more is unpacked than the header says, and one byte to see whether there is more.
    """
    start = 4 * (1 + dimensions)
    magic = bytes([0, 0, IDX_TYPE, dimensions])
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            header = file.read(start)
            if len(header) < start or header[:4] != magic:
                found = header[:4].hex()
                raise UserError(f"{path} begins with {found}, not {magic.hex()}; not an idx{dimensions}-ubyte file")
            shape = [int(size) for size in np.frombuffer(header, ">u4", count=dimensions, offset=4)]
            size, stated = math.prod(shape), " x ".join(map(str, shape))
            if size > MAX_IDX_BYTES:
                limit = MAX_IDX_BYTES // 2**30
                raise UserError(f"{path} says that it holds {stated} bytes; the limit is {limit} GiB")
            # In pieces: memory for what is there, not for what the header says.
            data = bytearray()
            while len(data) <= size and (piece := file.read(min(PIECE, size + 1 - len(data)))):
                data += piece
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
    if len(data) != size:
        count = f"more than {size}" if len(data) > size else len(data)
        raise UserError(f"{path} holds {count} bytes but its header says {stated}; fetch it again")
    return np.frombuffer(data, np.uint8).reshape(shape)
