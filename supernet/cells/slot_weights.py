"""From the weights of genes to those of a cell's connections and nodes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ofa.supernet.cells.mixed import SlotWeights
from ofa.supernet.cells.outputs import possible_nodes
from ofa.supernet.cells.space import CellSpace


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
        row = []
        for number, slot in enumerate(of_node):
            tensors, values = vectors[slot.operation_gene], numbers[slot.operation_gene]
            if slot.state_gene is not None:
                share, part = vectors[slot.state_gene][slot.state], numbers[slot.state_gene][slot.state]
                tensors, values = [share * each for each in tensors], [part * each for each in values]
            row.append(SlotWeights(tuple(tensors), tuple(values), scales[node][number] if scales else None))
        found.append(row)
    return found


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
        for slot in of_node:
            node = slot.state - space.facts.inputs
            if node >= 0:
                free = 1 - own[slot.state_gene][slot.state]
                loose[node] = free if loose[node] is None else loose[node] * free
    return list(loose.items())
