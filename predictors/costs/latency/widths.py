"""Which widths of stages are timed, and times at those that are not.

Blocks of spaces with elastic stage widths depend on the width before them and on their own, so their combinations grow
with the square of the number of widths. Few are timed; between them times follow the multiply-accumulates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ofa.predictors.costs.part_genes import distinct
from ofa.supernet.space import SearchSpace

MAX_WIDTHS = 3  # timed of one gene; those between are interpolated
MAX_CHOICES = 240  # of all parts, at each of up to five resolutions; above, only two widths of a gene are timed


def timed_options(space: SearchSpace) -> tuple[tuple[int, ...], ...]:
    """The options of each gene that are timed.

    Of ordered genes that several parts share, such as widths, they are the smallest, middle and largest; only smallest
    and largest where parts would otherwise have more than ``MAX_CHOICES``. Of other genes they are all.
    """
    timed = _few_of_shared(space, MAX_WIDTHS)
    return timed if _number_of_choices(space, timed) <= MAX_CHOICES else _few_of_shared(space, 2)


def _few_of_shared(space: SearchSpace, most: int) -> tuple[tuple[int, ...], ...]:
    timed = []
    for gene in space.genes:
        count = len(gene.options)
        few = gene.block is None and gene.ordered and gene.role not in ("resolution", "depth") and count > most
        timed.append(tuple(round(i) for i in np.linspace(0, count - 1, most)) if few else tuple(range(count)))
    return tuple(timed)


def _number_of_choices(space: SearchSpace, timed: Sequence[Sequence[int]]) -> int:
    """Of stem, head, and the blocks of each stage that differ in what they may choose."""
    columns, kinds = space.part_columns, {}
    for name, of_part in (("stem", columns.stem), ("head", columns.head)):
        kinds[name] = [len(timed[column]) for column in distinct(of_part)]
    for block, of_part in zip(space.blocks, columns.blocks, strict=True):
        own = distinct(of_part)
        alike = tuple(column if space.genes[column].block is None else space.genes[column][:2] for column in own)
        kinds[block.stage, alike] = [len(timed[column]) for column in own]
    return sum(map(math.prod, kinds.values()))


def along_macs(times: np.ndarray, macs: np.ndarray, genes: Sequence[int], timed: Sequence[Sequence[int]]) -> np.ndarray:
    """``times`` of a part at the ``timed`` options of its ``genes``, at all of them.

    Along one gene after the other they are linear in ``macs``, and exact where they were timed. The first axis of
    ``times`` and ``macs``, which the genes' axes follow, is the resolution.
    """
    for axis, gene in enumerate(genes, start=1):
        options = timed[gene]
        if len(options) == macs.shape[axis]:
            continue
        # Genes before this one are already there with every option, those after it with the timed ones.
        work = macs
        for later, other in enumerate(genes[axis:], start=axis + 1):
            work = work.take(timed[other], axis=later)
        every = np.arange(work.shape[axis])
        above = np.clip(np.searchsorted(options, every), 1, len(options) - 1)
        low, high = np.take(options, above - 1), np.take(options, above)
        start, spread = work.take(low, axis), work.take(high, axis) - work.take(low, axis)
        # Where work does not change, the place among the options counts.
        along = [-1 if number == axis else 1 for number in range(work.ndim)]
        place = ((every - low) / (high - low)).reshape(along)
        fraction = np.where(spread != 0, (work - start) / np.where(spread != 0, spread, 1), place)
        times = (1 - fraction) * times.take(above - 1, axis) + fraction * times.take(above, axis)
    return times
