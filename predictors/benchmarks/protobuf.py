"""The wire format of protocol buffers, as much as a message of numbers needs.

https://protobuf.dev/programming-guides/encoding/: a field is its number and kind in one variable-length integer, and
then its value: such an integer (0), eight bytes (1), a length and so many bytes (2), or four bytes (5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_FIXED = {1: 8, 5: 4}


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an integer, or bytes. Raises ``ValueError`` when the message is cut short."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == 2:
            length, position = _varint(message, position)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise ValueError(f"a field of the kind {kind}, which no message of numbers has")
        if position + length > len(message):
            raise ValueError("the message is cut short")
        yield key >> 3, message[position : position + length]
        position += length


def double(value: int | bytes) -> float:
    """The number of an eight-byte field. Raises ``ValueError`` for a field of another kind."""
    if not isinstance(value, bytes) or len(value) != 8:
        raise ValueError("a number of eight bytes is something else")
    return struct.unpack("<d", value)[0]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 64:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("the message is cut short")
