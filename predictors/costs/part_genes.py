"""Which genes each part of a space depends on: the one place where costs know how a code is laid out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ofa.predictors.costs.parts import Part
from ofa.supernet.genome import Genome
from ofa.supernet.space import SearchSpace


class PartGenes(NamedTuple):
    """A part without its costs: see ``Part``."""

    genes: tuple[int, ...]
    depth_gene: int | None = None
    min_option: int = 0

    def part(self, costs: np.ndarray) -> Part:
        return Part(self.genes, costs, self.depth_gene, self.min_option)


def part_genes(space: SearchSpace) -> tuple[PartGenes, ...]:
    """Stem and head together, then each block: of each the resolution, and the genes of its ``part_columns``."""
    columns = space.part_columns
    resolution = tuple(space.genes_of("resolution").tolist())
    rows = [PartGenes((*resolution, *distinct(columns.stem, columns.head)))]
    for block, own in zip(space.blocks, columns.blocks, strict=True):
        rows.append(PartGenes((*resolution, *distinct(own)), *space.depth_switch(block.stage, block.index)))
    return tuple(rows)


def end_genes(space: SearchSpace) -> tuple[PartGenes, PartGenes]:
    """Stem and head apart."""
    resolution = tuple(space.genes_of("resolution").tolist())
    stem, head = ((*resolution, *distinct(columns)) for columns in (space.part_columns.stem, space.part_columns.head))
    return PartGenes(stem), PartGenes(head)


def distinct(*columns: Mapping[str, int]) -> tuple[int, ...]:
    """The columns of a code that parts depend on, each once: a part may know one gene by two keys."""
    return tuple(dict.fromkeys(column for of_part in columns for column in of_part.values()))


def every_choice(space: Genome, *columns: Mapping[str, int]) -> Iterator[tuple[tuple[int, ...], list[dict[str, Any]]]]:
    """Each combination of the options of ``distinct(*columns)``: their indices, and each part's choices by key."""
    genes = distinct(*columns)
    for index in np.ndindex(*(len(space.genes[column].options) for column in genes)):
        values = {column: space.genes[column].options[option] for column, option in zip(genes, index, strict=True)}
        yield index, [{key: values[column] for key, column in of_part.items()} for of_part in columns]


def ends_alike(space: SearchSpace, stem: np.ndarray, head: np.ndarray) -> list[np.ndarray]:
    """Costs of stem and head, each ``(resolutions, options of its own genes ...)``, in the shape of both together."""
    together = part_genes(space)[0].genes
    shape = tuple(space.num_options[list(together)])
    alike = []
    for costs, row in zip((stem, head), end_genes(space), strict=True):
        order = sorted(range(costs.ndim), key=lambda axis, genes=row.genes: together.index(genes[axis]))
        missing = tuple(axis for axis, gene in enumerate(together) if gene not in row.genes)
        alike.append(np.broadcast_to(np.expand_dims(costs.transpose(order), missing), shape))
    return alike


def parts_of(space: SearchSpace, ends: np.ndarray, blocks: Sequence[np.ndarray]) -> tuple[Part, ...]:
    """Parts of costs: ``ends`` of stem and head together, then of each block, all ``(resolutions, options ...)``."""
    costs = [np.asarray(ends), *blocks]
    return tuple(row.part(values) for row, values in zip(part_genes(space), costs, strict=True))
