"""A subnet as reports show it: kept in ``report.json``, because a space of timm's models asks torch for its blocks."""

from __future__ import annotations

from typing import Any, NamedTuple


class Block(NamedTuple):
    """A block that runs.

    ``choices`` are the values of the genes that it has for itself, by key; ``middle`` are the channels inside it, after
    expansion; ``width`` those that it gives; ``size`` is the side that it reads.
    """

    choices: dict[str, Any]
    middle: int
    width: int
    size: int


class Stage(NamedTuple):
    """The blocks of one stage and the channels that they give."""

    width: int
    blocks: tuple[Block, ...]


class SubnetDescription(NamedTuple):
    """A subnet under a name, ready to be shown."""

    name: str
    resolution: int
    stages: tuple[Stage, ...]
