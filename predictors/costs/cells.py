"""Cost tables of cell spaces that are counted: a part for each choice of a cell, and the rest as the intercept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np

from ofa.predictors.costs.parts import Part
from ofa.predictors.costs.table import Table
from ofa.supernet.cells.outputs import possible_nodes
from ofa.supernet.cells.sizes import OPERATION_SIZES, Size, residual
from ofa.supernet.cells.skeleton import RESIDUAL
from ofa.supernet.cells.space import CellSpace

# What convolutions cost, given their size and the side of the square map that they write.
_Cost = Callable[[Size, int], int]


def macs_table(space: CellSpace, *, num_classes: int, in_chans: int) -> Table:
    """Multiply-accumulates of convolutions and the classifier for one image of ``space.resolution``."""
    return _table(space, "macs", Size.macs, num_classes=num_classes, in_chans=in_chans)


def params_table(space: CellSpace, *, num_classes: int, in_chans: int) -> Table:
    """Trainable parameters, where the batch norms of cells have scale and shift."""
    table = _table(space, "params", lambda size, _side: size.params, num_classes=num_classes, in_chans=in_chans)
    return Table(space, "params", "", table.parts, intercept=table.intercept + num_classes)  # the classifier's biases


def _table(space: CellSpace, name: str, cost: _Cost, *, num_classes: int, in_chans: int) -> Table:
    fixed = sum(cost(size, side) for size, side in _fixed(space, num_classes=num_classes, in_chans=in_chans))
    parts = [*_of_connections(space, cost), *_of_outputs(space, cost, num_classes=num_classes)]
    return Table(space, name, "", tuple(parts), intercept=float(fixed))


class _Read(NamedTuple):
    """A 1x1 convolution, or the classifier, that reads the output of the stem, a residual block or a cell.

    ``kind`` of what is read, None for the stem; ``channels`` of each of its output nodes. ``side`` of the square map
    that is written, and its channels ``written``.
    """

    kind: str | None
    channels: int
    written: int
    side: int


def _reads(space: CellSpace, *, num_classes: int) -> Iterator[_Read]:
    skeleton = space.skeleton
    outputs = [(None, skeleton.stem_channels)] * 2 + [(place.kind, place.channels) for place in skeleton.places]
    if space.facts.inputs == 2:
        for number, place in enumerate(skeleton.places):
            for kind, channels in outputs[number : number + 2]:
                yield _Read(kind, channels, place.channels, place.side)
    yield _Read(*outputs[-1], num_classes, 1)


def _fixed(space: CellSpace, *, num_classes: int, in_chans: int) -> Iterator[tuple[Size, int]]:
    """All that no gene changes, and the side of the map that each writes."""
    skeleton, facts = space.skeleton, space.facts
    yield Size(9 * in_chans * skeleton.stem_channels, skeleton.stem_channels), space.resolution
    for place in skeleton.places:
        if place.kind == RESIDUAL:
            yield residual(place), place.out_side
        elif facts.inputs == 2:
            yield Size(0, 2 * place.channels), place.side
    if skeleton.act_in_head:
        yield Size(0, skeleton.head_channels), 1
    for read in _reads(space, num_classes=num_classes):
        if read.kind not in facts.kinds:
            yield Size(read.channels * read.written), read.side
        elif facts.output != "loose":
            nodes = len(possible_nodes(facts.output, space.nodes))
            yield Size(nodes * read.channels * read.written), read.side


def _of_connections(space: CellSpace, cost: _Cost) -> Iterator[Part]:
    """Of each connection, in all cells of a kind: over its operation, and its state where that is chosen."""
    for kind in space.facts.kinds:
        first = space.columns(kind).start
        rows: dict[tuple[int, ...], list[list[int]]] = {}  # by the connection's genes, a row for each state
        for slot in (slot for of_node in space.wiring.slots for slot in of_node):
            costs = _of_operations(space, kind, slot.state, cost)
            for choice in slot.choices:
                genes = tuple(first + gene for gene in (choice.state_gene, choice.operation_gene) if gene is not None)
                rows.setdefault(genes, []).append(costs)
        for genes, costs in rows.items():
            yield Part(genes, np.array(costs if len(genes) == 2 else costs[0], float))


def _of_operations(space: CellSpace, kind: str, state: int, cost: _Cost) -> list[int]:
    """What each operation on a state costs in all cells of ``kind`` together."""
    places = [place for place in space.skeleton.places if place.kind == kind]
    strides = [place.stride if state < space.facts.inputs else 1 for place in places]
    return [
        sum(
            cost(OPERATION_SIZES[name](place.channels, stride), place.out_side)
            for place, stride in zip(places, strides, strict=True)
        )
        for name in space.facts.operations
    ]


def _of_outputs(space: CellSpace, cost: _Cost, *, num_classes: int) -> Iterator[Part]:
    """Where only loose nodes are in the output, what reading each node there costs: over the states of later nodes."""
    if space.facts.output != "loose":
        return
    for kind in space.facts.kinds:
        own = [read for read in _reads(space, num_classes=num_classes) if read.kind == kind]
        total = sum(cost(Size(read.channels * read.written), read.side) for read in own)
        for node in possible_nodes(space.facts.output, space.nodes):
            yield _loose_part(space, kind, node, total)


def _loose_part(space: CellSpace, kind: str, node: int, cost: float) -> Part:
    """``cost`` unless another node reads ``node``."""
    first, state = space.columns(kind).start, space.facts.inputs + node
    slots = [slot for of_node in space.wiring.slots for slot in of_node if slot.state == state]
    genes = {first + choice.state_gene for slot in slots for choice in slot.choices}
    free = [np.arange(len(space.genes[gene].options)) != state for gene in sorted(genes)]
    return Part(tuple(sorted(genes)), cost * reduce(np.multiply.outer, free, np.ones(())))
