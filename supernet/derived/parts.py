"""What is known of a network that was walked, as values: its parts as operators, and its groups of channels.

Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ofa.supernet.operators import Operator, Operators


class Leaf(NamedTuple):
    """The axes that a layer reads and writes; the same one twice for layers that keep their channels.

    ``step``: channels that count as one where the layer is told how many it writes, such as those of a head.
    """

    reads: int
    writes: int
    step: int = 1


@dataclass(frozen=True)
class Channels:
    """Channels that are cut together.

    Attributes:
        size: of the largest network.
        role: of the gene that chooses how many are kept: ``"width"`` where parts share them, ``"expand"`` inside a
            block, ``"heads"``; ``"follows"`` where they depend on other ones; empty where they are fixed.
        name: of a width, among the widths: the stage that gives it, ``"stem"`` or ``"head"``.
        stage, block: the block that they are inside of; of a width, the stage that gives it.
        fixed: why there is no choice, when there is none.
        follows: the number of the channels that they depend on.
        step: how many are kept or left out together; 0 where any number may be.
        ordered: whether their order matters, so that they must not be sorted.
    """

    size: int
    role: str = ""
    name: str = ""
    stage: int | None = None
    block: int | None = None
    fixed: str = ""
    follows: int | None = None
    step: int = 0
    ordered: bool = False


@dataclass(frozen=True)
class PartLayout:
    """A part of the largest network. ``axes`` number ``Layout.channels``; see ``walk.TracedPart``."""

    operators: tuple[Operator, ...]
    axes: tuple[int, ...]
    groups: tuple[int | None, ...]
    paths: tuple[str, ...]
    out: int
    in_tokens: int

    def as_operators(self, in_channels: int) -> Operators:
        return Operators(in_channels, self.operators, self.in_tokens)


@dataclass(frozen=True, eq=False)
class Layout:
    """A network that was walked.

    Attributes:
        channels: all groups of channels; the first are the images', ``classes`` numbers those of the classifier.
        leaves: by name, the channels that a layer reads and writes.
        parameters: by name, the channels of a parameter that belongs to no layer, and which dimension they are.
        opaque: by name, the layers that are kept as they are, and why.
        least_depths: of each stage, the number of blocks that must stay; 0 where all keep the shape of what they read.
        containers: the names of the sequences that hold the blocks of each stage.
        fixed_kernels: the names of depthwise convolutions whose kernel cannot be cut.
        optional: the names of convolutions that can be left out with all of the module that they are in.
        alternatives: by stage, block and number of its kind, the blocks that may stand in the place of another.
    """

    stem: PartLayout
    blocks: tuple[tuple[PartLayout, ...], ...]
    head: PartLayout
    channels: tuple[Channels, ...]
    classes: int
    leaves: Mapping[str, Leaf]
    parameters: Mapping[str, tuple[int, int]]
    opaque: Mapping[str, str]
    least_depths: tuple[int, ...]
    containers: tuple[str, ...]
    fixed_kernels: frozenset[str]
    optional: frozenset[str]
    alternatives: Mapping[tuple[int, int, int], PartLayout]
