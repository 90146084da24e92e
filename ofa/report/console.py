"""Text for a terminal of 100 columns: tables that are too wide stand below each other, sentences are wrapped."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

MAX_WIDTH = 100
_GAP = 2  # blanks between columns


def wrapped(text: str, *, indent: int = 2) -> str:
    """``text`` in lines of at most ``MAX_WIDTH``, those after the first indented; a longer word is left whole."""
    if len(text) <= MAX_WIDTH:
        return text
    return textwrap.fill(
        text, MAX_WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]], *, rule: bool = False) -> list[str]:
    """Lines of equal columns below a header, whose names may be several lines.

    What does not fit beside the others stands in a table below, with the first column again. ``rule``: a line between
    header and rows.
    """
    height = max(column.count("\n") for column in columns) + 1
    headers = [tuple(f"{column}\n".split("\n")[number] for column in columns) for number in range(height)]
    cells = [*headers, *map(tuple, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    lines: list[str] = []
    for group in _groups(widths):
        part = ["  ".join(row[column].ljust(widths[column]) for column in group).rstrip() for row in cells]
        head = [line for line in part[:height] if line]
        between = ["-" * max(map(len, part))] if rule else []
        lines += [*([""] if lines else []), *head, *between, *part[height:]]
    return lines


def _groups(widths: Sequence[int]) -> list[list[int]]:
    """Which columns stand beside each other; each group begins with the first."""
    groups, room = [[0]], MAX_WIDTH - widths[0]
    for column in range(1, len(widths)):
        if widths[column] + _GAP > room and groups[-1] != [0]:
            groups.append([0])
            room = MAX_WIDTH - widths[0]
        groups[-1].append(column)
        room -= widths[column] + _GAP
    return groups
