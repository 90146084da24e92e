"""Cost tables that are counted, not measured: a fold over the operators of each part of a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Literal

import numpy as np

from ofa.predictors.costs.part_genes import distinct, ends_alike, every_choice, parts_of
from ofa.predictors.costs.table import Table
from ofa.supernet.families.operators import operators_of_family
from ofa.supernet.operators import Operators, biases, macs, params, weights
from ofa.supernet.space import SearchSpace

# The cost of a part for each side of its input map: integers ``(sides,)`` to costs ``(sides,)``, or to one
# number.
Fold = Callable[[Operators, np.ndarray], Any]


def macs_table(space: SearchSpace, *, num_classes: int, in_chans: int) -> Table:
    """Multiply-accumulates of convolutions, linear layers and attention, for one image: see ``operators.macs``."""
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
    ends = ends_alike(space, *fold_ends(space, fold, fold, num_classes=num_classes, in_chans=in_chans))
    merge = {"sum": np.sum, "max": np.max}[combine]
    parts = parts_of(space, merge(ends, axis=0), fold_blocks(space, fold))
    return Table(space, name, unit, parts, info=info or {}, combine=combine)


def fold_ends(
    space: SearchSpace, stem_fold: Fold, head_fold: Fold, *, num_classes: int, in_chans: int
) -> tuple[np.ndarray, np.ndarray]:
    """A fold over the operators of stem and head: of each ``(resolutions, options of its first gene, ...)``."""
    family, columns = operators_of_family(space), space.part_columns
    stem, head = partial(family.stem, space, in_chans=in_chans), partial(family.head, space, num_classes=num_classes)
    return (
        _fold_part(space, stem_fold, stem, columns.stem, lambda _choices: np.array(space.resolutions)),
        _fold_part(space, head_fold, head, columns.head, sides_read(space, len(space.blocks))),
    )


def fold_blocks(space: SearchSpace, fold: Fold) -> list[np.ndarray]:
    """``fold`` over the operators of every block: for each ``(resolutions, options of its first gene, ...)``."""
    family = operators_of_family(space)
    return [
        _fold_part(space, fold, partial(family.block, space, block), columns, sides_read(space, position))
        for position, (block, columns) in enumerate(zip(space.blocks, space.part_columns.blocks, strict=True))
    ]


def _fold_part(
    space: SearchSpace,
    fold: Fold,
    operators: Callable[..., Operators],
    columns: Mapping[str, int],
    sides: Callable[[Mapping[str, Any]], np.ndarray],
) -> np.ndarray:
    """``fold`` over the operators of one part with every choice, ``(resolutions, options of its first gene, ...)``."""
    costs = np.empty((len(space.resolutions), *space.num_options[list(distinct(columns))]))
    for index, (choices,) in every_choice(space, columns):
        costs[(slice(None), *index)] = fold(operators(**choices), sides(choices))
    return costs


def sides_read(space: SearchSpace, part: int) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """From choices to the side of the map that a block reads at each resolution; the head is the part after the last
    block."""
    keys = {space.genes[column].key for column in space.genes_of("stride").tolist()}

    @cache
    def with_strides(strides: tuple[tuple[str, int], ...]) -> np.ndarray:
        sizes = (space.strided_sizes(resolution, dict(strides)) for resolution in space.resolutions)
        return np.array([size[part] for size in sizes])

    return lambda choices: with_strides(tuple((key, value) for key, value in choices.items() if key in keys))
