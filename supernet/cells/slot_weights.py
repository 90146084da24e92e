"""From the weights of genes to those of a cell's connections and nodes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from torch import Tensor

from ofa.supernet.cells.mixed import SlotWeights
from ofa.supernet.cells.outputs import possible_nodes
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.cells.wiring import Choice, Slot


def slot_weights(
    space: CellSpace, kind: str, weights: Sequence[Tensor], edge_alphas: Sequence[Tensor]
) -> list[list[SlotWeights]]:
    """Of each node's slots in the cells of one kind.

    ``weights`` of all genes of the space. ``edge_alphas``, one a node of each kind, scale the slots of a node by their
    softmax; empty: no scale.
    """
    own = weights[space.columns(kind)]
    vectors = [each.unbind() for each in own]
    numbers = [each.tolist() for each in own]
    slots = space.wiring.slots
    first_node = space.facts.kinds.index(kind) * len(slots)
    scales = [alpha.softmax(0) for alpha in edge_alphas[first_node : first_node + len(slots)]]
    found = []
    for node, of_node in enumerate(slots):
        summed = [_of_slot(slot, vectors, numbers) for slot in of_node]
        shares = scales[node].unbind() if scales else [None] * len(of_node)
        found.append([SlotWeights(*both, share) for both, share in zip(summed, shares, strict=True)])
    return found


def _of_slot(
    slot: Slot, vectors: Sequence[Sequence[Tensor]], numbers: Sequence[Sequence[float]]
) -> tuple[tuple[Tensor, ...], tuple[float, ...]]:
    """The weights of the operations on a state, as tensors and as numbers: the sum over the choices of connections."""
    choices = [_of_choice(choice, slot.state, vectors, numbers) for choice in slot.choices]
    tensors, values = zip(*choices, strict=True)
    return tuple(map(_sum, zip(*tensors, strict=True))), tuple(map(_sum, zip(*values, strict=True)))


def _sum(terms: Sequence[Any]) -> Any:
    return reduce(add, terms)  # not from 0, which would be one more node of the gradient's graph


def _of_choice(
    choice: Choice, state: int, vectors: Sequence[Sequence[Tensor]], numbers: Sequence[Sequence[float]]
) -> tuple[list[Tensor], list[float]]:
    """The same of one choice."""
    tensors, values = vectors[choice.operation_gene], numbers[choice.operation_gene]
    if choice.state_gene is None:
        return list(tensors), list(values)
    share, part = vectors[choice.state_gene][state], numbers[choice.state_gene][state]
    return [share * each for each in tensors], [part * each for each in values]


def mixed_output(space: CellSpace, kind: str, weights: Sequence[Tensor]) -> list[tuple[int, Tensor | None]]:
    """The nodes that are in the output of a mixed cell, and what their maps are multiplied with there.

    Where only loose nodes are in the output, that is the probability that no other node reads them: the product, over
    the connections of later nodes, of 1 minus the weight of this node's state.
    """
    nodes = possible_nodes(space.facts.output, space.nodes)
    if space.facts.output != "loose":
        return [(node, None) for node in nodes]
    own = weights[space.columns(kind)]
    loose: dict[int, Tensor | None] = dict.fromkeys(nodes)
    for of_node in space.wiring.slots:
        for choice, state in [(choice, slot.state) for slot in of_node for choice in slot.choices]:
            node = state - space.facts.inputs
            if node >= 0:
                free = 1 - own[choice.state_gene][state]
                loose[node] = free if loose[node] is None else loose[node] * free
    return list(loose.items())
