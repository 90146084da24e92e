"""Schedules of an architecture search, as data: stages with their share of the epochs, and temperatures.

A length is a share of the search, so that the same method runs for 5 epochs and for 50.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# How dropout on skips falls once the parameters learn: e ** -5 at the end of a stage of which all is left,
# as P-DARTS' factor .2 an epoch over 25 epochs.
_FALL = 5.0


@dataclass(frozen=True)
class Stage:
    """A part of a search; the weights' learning rate falls once within it, and their optimizer begins anew.

    Attributes:
        share: of the search's epochs.
        frozen: of the stage's steps in which the weights alone learn.
        keep: of each gene's options the most probable share is left at the stage's end (rounded up, 2 at least);
            1: all of them.
        cells: the share of the network's cells that the stage's network has; another network is made for it.
        partial: of so many equal parts of the channels, one goes through a cell's operations (PC-DARTS); another
            number than the stage before needs another network.
        skip_drop: the probability with which a value of a skip is dropped at the stage's beginning.
        restart: the parameters begin anew, among the options that are left.
    """

    share: float = 1.0
    frozen: float = 0.0
    keep: float = 1.0
    cells: float = 1.0
    partial: int = 1
    skip_drop: float = 0.0
    restart: bool = False

    def skip_drop_at(self, progress: float) -> float:
        """The probability after a share ``progress`` of the stage's steps: P-DARTS' (https://arxiv.org/abs/1904.12760).

        It falls linearly while the parameters are frozen, then exponentially.
        """
        if progress < self.frozen:
            return self.skip_drop * (1 - progress)
        return self.skip_drop * math.exp(-_FALL * (progress - self.frozen))


@dataclass(frozen=True)
class Temperature:
    """Of the draws, from the first step to the last, linearly or by equal factors."""

    first: float = 1.0
    last: float = 1.0
    falls: Literal["linearly", "exponentially"] = "linearly"

    def __post_init__(self) -> None:
        if not (0 < self.first < math.inf and 0 < self.last < math.inf):
            raise ValueError(f"the temperature goes from {self.first} to {self.last}; both must be above 0")

    def at(self, progress: float) -> float:
        """After a share ``progress`` of the search."""
        if self.falls == "exponentially":
            return self.first * (self.last / self.first) ** progress
        return self.first + (self.last - self.first) * progress


def epochs_of(stages: Sequence[Stage], epochs: int) -> list[int]:
    """How many epochs each stage has, in proportion to its share: ``epochs`` in all, 1 at least.

    Raises ``ValueError`` when there are fewer epochs than stages.
    """
    if epochs < len(stages):
        raise ValueError(f"the search has {len(stages)} stages; give it as many epochs at least, not {epochs}")
    total, done, given = sum(stage.share for stage in stages), 0.0, []
    for number, stage in enumerate(stages, start=1):
        done += stage.share
        end = min(round(epochs * done / total), epochs - (len(stages) - number))
        given.append(max(1, end - sum(given)))
    return given
