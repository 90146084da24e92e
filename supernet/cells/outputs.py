"""Which nodes of a cell are its output: their maps are concatenated."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ofa.supernet.cells.subnet import Cell

# The last node, every node, or the loose ones: those that no other node reads.
Output: TypeAlias = Literal["last", "all", "loose"]


def possible_nodes(output: Output, nodes: int) -> tuple[int, ...]:
    """The nodes that are in the output of some cell of so many nodes."""
    return (nodes - 1,) if output == "last" else tuple(range(nodes))


def output_nodes(output: Output, cell: Cell, *, inputs: int) -> tuple[int, ...]:
    """The nodes that are in the output of ``cell``, which reads ``inputs`` states."""
    read = {state - inputs for node in cell for _, state in node} if output == "loose" else set()
    return tuple(node for node in possible_nodes(output, len(cell)) if node not in read)
