"""What every stage is given, and what it gives back. This module imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ofa.config.recipe import Recipe


class Outcome(NamedTuple):
    """What a finished stage made: its files, whose digests are kept, and one line for the screen."""

    files: list[Path]
    summary: str


@dataclass
class RunContext:
    """A recipe and the folder of its run.

    Attributes:
        check_interrupt: raises ``KeyboardInterrupt`` when Ctrl-C was pressed; long loops call it at each turn.
    """

    recipe: Recipe
    folder: Path
    check_interrupt: Callable[[], None] = lambda: None
