"""Which genes each part of a space depends on: the one place where costs know how a code is laid out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ofa.predictors.costs.parts import Part
from ofa.supernet.space import SearchSpace


class PartGenes(NamedTuple):
    """A part before it has costs: the genes that they depend on, the resolution's first.

    Attributes:
        genes, depth_gene, min_option: see ``Part``.
        roles: what each gene chooses, such as ``"kernel"``.
        options: the values that each gene chooses from.
    """

    genes: tuple[int, ...]
    roles: tuple[str, ...]
    options: tuple[tuple[Any, ...], ...]
    depth_gene: int | None = None
    min_option: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the part's costs: the number of options of each gene."""
        return tuple(map(len, self.options))

    def choices(self) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
        """Every choice of the genes but the resolution: the options' indices, and the values by role."""
        for index in product(*map(range, self.shape[1:])):
            values = (options[number] for options, number in zip(self.options[1:], index, strict=True))
            yield index, dict(zip(self.roles[1:], values, strict=True))

    def part(self, costs: np.ndarray) -> Part:
        return Part(self.genes, costs, self.depth_gene, self.min_option)


def part_genes(space: SearchSpace) -> tuple[PartGenes, ...]:
    """Stem and head together (resolution), then each block slot (resolution, kernel, expand ratio)."""
    rows = [PartGenes((0,), ("resolution",), (space.resolutions,))]
    for number, slot in enumerate(space.slots):
        stage = space.stages[slot.stage]
        rows.append(
            PartGenes(
                (0, space.kernel_genes.start + number, space.expand_genes.start + number),
                ("resolution", "kernel", "expand"),
                (space.resolutions, stage.kernels, stage.expands),
                depth_gene=space.depth_genes.start + slot.stage,
                min_option=sum(depth <= slot.index for depth in stage.depths),
            )
        )
    return tuple(rows)


def parts_of(space: SearchSpace, ends: np.ndarray, blocks: Sequence[np.ndarray]) -> tuple[Part, ...]:
    """Parts of costs: of stem and head ``(resolutions,)``, and of each block ``(resolutions, *other options)``."""
    costs = [np.asarray(ends), *blocks]
    return tuple(row.part(values) for row, values in zip(part_genes(space), costs, strict=True))
