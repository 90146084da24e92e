"""Which genes each part of a space depends on: the one place where costs know how a code is laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ofa.predictors.costs.parts import Part
from ofa.supernet.space import SearchSpace


class PartGenes(NamedTuple):
    """A part without its costs: see ``Part``."""

    genes: tuple[int, ...]
    depth_gene: int | None = None
    min_option: int = 0

    def part(self, costs: np.ndarray) -> Part:
        return Part(self.genes, costs, self.depth_gene, self.min_option)


def part_genes(space: SearchSpace) -> tuple[PartGenes, ...]:
    """Stem and head together (resolution), then each block (resolution, and its own genes in their order)."""
    resolution = tuple(space.genes_of("resolution").tolist())
    rows = [PartGenes(resolution)]
    for block in space.blocks:
        own = space.genes_of_block(block.stage, block.index)
        rows.append(PartGenes((*resolution, *own), *space.depth_switch(block.stage, block.index)))
    return tuple(rows)


def parts_of(space: SearchSpace, ends: np.ndarray, blocks: Sequence[np.ndarray]) -> tuple[Part, ...]:
    """Parts of costs: ``ends`` of stem and head ``(resolutions,)``, each block ``(resolutions, options ...)``."""
    costs = [np.asarray(ends), *blocks]
    return tuple(row.part(values) for row, values in zip(part_genes(space), costs, strict=True))
