"""TFRecord files, read without TensorFlow: each record with its length and two checksums.

The format: https://www.tensorflow.org/tutorials/load_data/tfrecord (a length of 8 bytes, the checksum of the length,
the record, the checksum of the record; little-endian). Checksums are CRC-32C, rotated and shifted by a constant.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

_POLYNOMIAL = 0x82F63B78  # of CRC-32C, with its bits reversed
_MASK = 0xA282EAD8
_CHUNK = 4096  # records whose checksums are computed together
_HEAD, _TAIL = 12, 4


def is_tfrecord(head: bytes) -> bool:
    """Whether a file that starts with ``head`` is one: its first length has the right checksum."""
    return len(head) >= _HEAD and masked_crc([head[:8]])[0] == int.from_bytes(head[8:12], "little")


def records(path: Path) -> Iterator[bytes]:
    """Each record of a file.

    Raises ``ValueError`` naming the file and the byte where it is cut short or damaged.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position = 0
        while position < len(content):
            # As many whole records as are checked together.
            starts, lengths = [], []
            while position < len(content) and len(starts) < _CHUNK:
                start = position + _HEAD
                length = int.from_bytes(content[position : position + 8], "little")
                if start > len(content) or start + length + _TAIL > len(content):
                    raise ValueError(
                        f"{path} is cut short: the record at byte {position} is not whole; download it again"
                    )
                starts.append(start)
                lengths.append(length)
                position = start + length + _TAIL
            found = [content[start : start + length] for start, length in zip(starts, lengths, strict=True)]
            _check(path, content, starts, found)
            yield from found


def masked_crc(texts: Sequence[bytes]) -> np.ndarray:
    """The checksums uint32 ``(n,)`` that a TFRecord file has of some bytes; of all texts at once."""
    # From the longest to the shortest, so that those with another byte left are the first ones.
    lengths = np.array([len(text) for text in texts])
    order = np.argsort(-lengths, kind="stable")
    longest = int(lengths[order[0]])
    padded = np.frombuffer(b"".join(texts[row].ljust(longest, b"\0") for row in order), np.uint8)
    columns = padded.reshape(len(texts), longest).T
    table, state = _table(), np.full(len(texts), 0xFFFFFFFF, np.uint32)
    left = len(texts) - np.searchsorted(np.sort(lengths), np.arange(longest), side="right")
    for column, active in zip(columns, left.tolist(), strict=True):
        now = state[:active]
        state[:active] = table[(now ^ column[:active]) & 0xFF] ^ (now >> np.uint32(8))
    crc = np.empty_like(state)
    crc[order] = ~state
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(_MASK)


def _check(path: Path, content: mmap.mmap, starts: Sequence[int], found: Sequence[bytes]) -> None:
    lengths = masked_crc([content[start - _HEAD : start - 4] for start in starts])
    written = [struct.unpack("<I", content[start - 4 : start])[0] for start in starts]
    ends = [start + len(record) for start, record in zip(starts, found, strict=True)]
    written_of_records = [struct.unpack("<I", content[end : end + _TAIL])[0] for end in ends]
    wrong = (lengths != written) | (masked_crc(found) != written_of_records)
    if wrong.any():
        place = starts[int(np.argmax(wrong))] - _HEAD
        raise ValueError(f"{path} is damaged: the record at byte {place} has another checksum; download it again")


@cache
def _table() -> np.ndarray:
    """What each value of a byte adds to a checksum ``(256,)``."""
    state = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        state = np.where(state & 1, state >> np.uint32(1) ^ np.uint32(_POLYNOMIAL), state >> np.uint32(1))
    return state
