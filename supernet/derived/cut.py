"""Where a plain model is cut into parts: what a family says of timm's class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from ofa.supernet.derived.walk import Handler


class Cut(NamedTuple):
    """A plain model cut into parts that share its layers.

    Attributes:
        stages: the blocks of each stage. A block may hold layers of the model that come before it.
        containers: the names of the sequences that hold the blocks of each stage, in the same order.
        handlers: what the family's own layers are, besides ``layers.HANDLERS``.
    """

    stem: nn.Module
    stages: Sequence[Sequence[nn.Module]]
    head: nn.Module
    containers: Sequence[str]
    handlers: Mapping[type[nn.Module], Handler] = {}
