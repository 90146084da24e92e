"""Cells whose nodes choose two states and an operation for each: NASNet (https://arxiv.org/abs/1707.07012)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ofa.supernet.cells.subnet import Cell
from ofa.supernet.cells.wiring import Choice, Slot
from ofa.supernet.genome import DTYPE, Gene

_PLACES = 2  # states that a node reads


@dataclass(frozen=True)
class Pairs:
    """One cell: each node adds two connections, each the choice of an earlier state and of an operation.

    The genes of a node are state and operation of the first connection, then of the second. The order of the two does
    not matter: in canonical form the first has the smaller state, or with equal states the smaller option.

    Attributes:
        inputs: states that the cell reads.
        nodes: states that it makes.
        operations: to choose from.
    """

    inputs: int
    nodes: int
    operations: tuple[str, ...]

    def genes(self, kind: str) -> list[Gene]:
        found = []
        for node in range(self.nodes):
            for place in range(_PLACES):
                name, states = f"{kind}_{node}_{place}", tuple(range(self.inputs + node))
                found.append(Gene("state", states, ordered=False, name=f"{name}_state"))
                found.append(Gene("operation", self.operations, ordered=False, name=f"{name}_operation"))
        return found

    @property
    def slots(self) -> tuple[tuple[Slot, ...], ...]:
        """Of each node every state that it may read, which either of its two connections may choose."""
        first = [2 * _PLACES * node for node in range(self.nodes)]
        return tuple(
            tuple(
                Slot(state, tuple(Choice(start + 2 * place + 1, start + 2 * place) for place in range(_PLACES)))
                for state in range(self.inputs + node)
            )
            for node, start in enumerate(first)
        )

    @property
    def size(self) -> int:
        """Number of distinct cells."""
        kinds = [(self.inputs + node) * len(self.operations) for node in range(self.nodes)]
        return math.prod(count * (count + 1) // 2 for count in kinds)

    def canonical(self, codes: np.ndarray) -> np.ndarray:
        nodes = codes.reshape(len(codes), self.nodes, _PLACES, 2)
        rank = nodes[..., 0].astype(np.intp) * len(self.operations) + nodes[..., 1]
        order = rank.argsort(axis=2, kind="stable")[..., None]
        return np.take_along_axis(nodes, order, axis=2).reshape(codes.shape)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        options = [len(gene.options) for gene in self.genes("")]
        return rng.integers(0, options, size=(n, len(options))).astype(DTYPE)

    def regrets(self, log_probabilities: np.ndarray) -> np.ndarray:
        return log_probabilities.max(axis=1, keepdims=True) - log_probabilities

    def regret(self, codes: np.ndarray, regrets: np.ndarray) -> np.ndarray:
        """A node's two connections in the order that has less."""
        nodes = codes.reshape(len(codes), self.nodes, _PLACES, 2)
        of_node = regrets.reshape(self.nodes, _PLACES, 2, -1)
        orders = []
        for order in (nodes, nodes[:, :, ::-1]):
            node, place, gene = np.indices(order.shape[1:])
            orders.append(of_node[node, place, gene, order].sum(axis=(2, 3)))
        return np.minimum(*orders).sum(axis=1)

    def least_regret(self, regrets: np.ndarray) -> np.ndarray:
        return regrets.argmin(axis=1).astype(DTYPE)

    def decode(self, code: Sequence[int]) -> Cell:
        nodes = np.asarray(code).reshape(self.nodes, _PLACES, 2).tolist()
        return tuple(tuple((self.operations[operation], state) for state, operation in node) for node in nodes)

    def encode(self, cell: Cell) -> list[int]:
        """Raises ``ValueError`` naming the node that is not of this space."""
        if len(cell) != self.nodes:
            raise ValueError(f"has {len(cell)} nodes; this space has {self.nodes}")
        code = []
        for number, connections in enumerate(cell):
            if len(connections) != _PLACES:
                raise ValueError(f"has {len(connections)} connections in node {number}; each node has {_PLACES}")
            for operation, state in connections:
                if operation not in self.operations:
                    raise ValueError(f"has {operation} in node {number}; there are {', '.join(self.operations)}")
                if not 0 <= state < self.inputs + number:
                    raise ValueError(
                        f"has the node {number} with the state {state}; it may read 0 to {self.inputs + number - 1}"
                    )
                code += [state, self.operations.index(operation)]
        return code
