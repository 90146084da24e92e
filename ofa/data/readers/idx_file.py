"""Reads MNIST's file format without trusting it: a compressed file may unpack to more than the memory holds."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ofa.errors import UserError

IDX_TYPE = 0x08  # unsigned byte
# All images of a file are in memory together. EMNIST, the largest data set in this format, has 0.6 GB.
MAX_IDX_BYTES = 2**32
CHUNK_BYTES = 2**20


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in an idx file, ``.gz`` or not.

    Unpacks only as many bytes as the header states, and one to see whether there are more. Raises
    ``UserError`` for a file that is damaged or too large.
    """
    start = 4 * (1 + dimensions)
    magic = bytes([0, 0, IDX_TYPE, dimensions])
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            header = file.read(start)
            if len(header) < start or header[:4] != magic:
                start_bytes = header[:4].hex()
                raise UserError(
                    f"{path} begins with {start_bytes}, not {magic.hex()}; not an idx{dimensions}-ubyte file"
                )

            shape = [int(size) for size in np.frombuffer(header, ">u4", count=dimensions, offset=4)]
            size, stated = math.prod(shape), " x ".join(map(str, shape))
            if size > MAX_IDX_BYTES:
                limit = MAX_IDX_BYTES // 2**30
                raise UserError(f"{path} says that it holds {stated} bytes; the limit is {limit} GiB")

            # In chunks, so that a wrong header does not allocate memory.
            data = bytearray()
            while len(data) <= size and (chunk := file.read(min(CHUNK_BYTES, size + 1 - len(data)))):
                data += chunk
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
    if len(data) != size:
        count = f"more than {size}" if len(data) > size else len(data)
        raise UserError(f"{path} holds {count} bytes but its header says {stated}; fetch it again")
    return np.frombuffer(data, np.uint8).reshape(shape)
