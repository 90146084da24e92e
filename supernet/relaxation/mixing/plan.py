"""Which genes weight which layer of a supernet: what a family says of its networks so that they can be relaxed.

Every name is that of a layer in the timm model, every column one of a code. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Width(NamedTuple):
    """How many channels are kept, for each option of the genes in ``columns``: integers with one axis a gene."""

    columns: tuple[int, ...]
    sizes: np.ndarray


class Kernels(NamedTuple):
    """The kernel for each option of the gene in ``column``: 0 leaves the layer out, None puts another block there."""

    column: int
    options: tuple[int | None, ...]


class Depths(NamedTuple):
    """How many blocks of a stage run, for each option of the gene in ``column``."""

    column: int
    options: tuple[int, ...]


class Alternatives(NamedTuple):
    """What runs in the place of a block, for each option of the gene in ``column``: the name of one of its
    ``alternatives``, or itself where that is empty."""

    column: int
    options: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MixingPlan:
    """What the genes of a space weight.

    Attributes:
        widths: by any name.
        reads: by layer, the name of the width that it reads: of layers that mix these channels or normalise over them.
            Those that treat each channel for itself need nothing.
        kernels: by convolution.
        optional: by layer that can be left out, the kernels of the convolution in it.
        depths: by sequence of blocks.
        alternatives: by block.
    """

    widths: Mapping[Hashable, Width] = field(default_factory=dict)
    reads: Mapping[str, Hashable] = field(default_factory=dict)
    kernels: Mapping[str, Kernels] = field(default_factory=dict)
    optional: Mapping[str, Kernels] = field(default_factory=dict)
    depths: Mapping[str, Depths] = field(default_factory=dict)
    alternatives: Mapping[str, Alternatives] = field(default_factory=dict)

    @property
    def columns(self) -> set[int]:
        """Of all genes that weight something."""
        single = (*self.kernels.values(), *self.optional.values(), *self.depths.values(), *self.alternatives.values())
        return {choice.column for choice in single} | {
            column for name in self.reads.values() for column in self.widths[name].columns
        }
