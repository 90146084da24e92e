"""Cost tables that are counted, not measured: a fold over the operators of each part of a space."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np

from ofa.predictors.costs.part_genes import parts_of
from ofa.predictors.costs.table import Table
from ofa.supernet.families.operators import operators_of_family
from ofa.supernet.operators import Operators, biases, macs, params, weights
from ofa.supernet.space import SearchSpace

# The cost of a part for each side of its input map: integers ``(sides,)`` to costs ``(sides,)``, or to one
# number.
Fold = Callable[[Operators, np.ndarray], Any]


def macs_table(space: SearchSpace, *, num_classes: int, in_chans: int) -> Table:
    """Multiply-accumulates of convolutions and linear layers, for one image."""
    return fold_table(space, "macs", "", macs, num_classes=num_classes, in_chans=in_chans)


def params_table(space: SearchSpace, *, num_classes: int, in_chans: int) -> Table:
    """Trainable parameters."""
    return fold_table(
        space, "params", "", lambda part, _sides: params(part), num_classes=num_classes, in_chans=in_chans
    )


def weight_bytes(per_weight: int, per_bias: int) -> Fold:
    """Bytes of weights and biases in the deployed network, batch norms folded into the convolutions."""
    return lambda part, _sides: weights(part) * per_weight + biases(part) * per_bias


def at_each_side(fold: Callable[[Operators, int], float]) -> Fold:
    """A ``Fold`` from a function of a single side, with cached results."""

    @cache
    def each(part: Operators, sides: tuple[int, ...]) -> list[float]:
        costs = {side: fold(part, side) for side in set(sides)}
        return [costs[side] for side in sides]

    return lambda part, sides: each(part, tuple(sides.tolist()))


def fold_table(
    space: SearchSpace,
    name: str,
    unit: str,
    fold: Fold,
    *,
    num_classes: int,
    in_chans: int,
    combine: Literal["sum", "max"] = "sum",
    info: dict[str, Any] | None = None,
) -> Table:
    """The table of ``fold`` over every part of ``space``."""
    family = operators_of_family(space)
    resolutions, sides = np.array(space.resolutions), sides_read(space)
    ends = [
        fold(family.stem(space, in_chans=in_chans), resolutions),
        fold(family.head(space, num_classes=num_classes), sides[:, -1]),
    ]
    merge = {"sum": np.sum, "max": np.max}[combine]
    end_costs = merge([np.broadcast_to(costs, resolutions.shape) for costs in ends], axis=0)
    parts = parts_of(space, end_costs, fold_blocks(space, fold))
    return Table(space, name, unit, parts, info=info or {}, combine=combine)


def fold_blocks(space: SearchSpace, fold: Fold) -> list[np.ndarray]:
    """``fold`` over the operators of every block: for each ``(resolutions, options of its first gene, ...)``."""
    family, sides = operators_of_family(space), sides_read(space)
    blocks = []
    for position, block in enumerate(space.blocks):
        genes = [space.genes[column] for column in space.genes_of_block(block.stage, block.index)]
        costs = np.empty((len(sides), *(len(gene.options) for gene in genes)))
        for index in np.ndindex(*costs.shape[1:]):
            choices = {gene.role: gene.options[option] for gene, option in zip(genes, index, strict=True)}
            costs[(slice(None), *index)] = fold(family.block(space, block, **choices), sides[:, position])
        blocks.append(costs)
    return blocks


def sides_read(space: SearchSpace) -> np.ndarray:
    """The side of the input map of each block, and last of the head: ``(resolutions, blocks + 1)``."""
    return np.array([space.sizes(resolution) for resolution in space.resolutions])
