"""Cells of which every edge chooses an operation: NAS-Bench-201 (https://arxiv.org/abs/2001.00326) and DARTS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ofa.supernet.cells.subnet import Cell
from ofa.supernet.cells.wiring import Choice, Slot
from ofa.supernet.genome import DTYPE, Gene


@dataclass(frozen=True)
class Edges:
    """One cell: an edge from each state to each later node, and a gene an edge, whose first option is ``none``.

    Attributes:
        inputs: states that the cell reads.
        nodes: states that it makes.
        operations: the options of an edge.
        most: edges other than ``none`` that a node may have; None: all of them.

    With ``most``, a code with more edges stands for the network that has ``most`` of them at each node. ``canonical``
    goes around the node's edges, starting from the sum of its genes, and keeps the first ones that it meets: a rule
    that favours no edge, so that a search can reach every network by changing genes. ``sample`` draws exactly ``most``
    edges a node, all equally often, as published networks have; networks with fewer are in the space, too. The most
    probable network has the ``most`` edges of each node whose best operation but ``none`` is most probable.
    """

    inputs: int
    nodes: int
    operations: tuple[str, ...]
    most: int | None = None

    def genes(self, kind: str) -> list[Gene]:
        """In the order of a code's columns: node after node, and of each node by the state that is read."""
        return [
            Gene("operation", self.operations, ordered=False, name=f"{kind}_{node}_{state}")
            for node in range(self.nodes)
            for state in range(self.inputs + node)
        ]

    @cached_property
    def _node_columns(self) -> list[slice]:
        ends = np.cumsum([0, *(self.inputs + node for node in range(self.nodes))]).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    @property
    def slots(self) -> tuple[tuple[Slot, ...], ...]:
        """Of each node every edge that it may have, with the gene that chooses its operation."""
        return tuple(
            tuple(Slot(state, (Choice(column),)) for state, column in enumerate(range(columns.start, columns.stop)))
            for columns in self._node_columns
        )

    @property
    def size(self) -> int:
        """Number of distinct cells."""
        others = len(self.operations) - 1
        return math.prod(
            sum(math.comb(edges, count) * others**count for count in range(min(edges, self.most or edges) + 1))
            for edges in (self.inputs + node for node in range(self.nodes))
        )

    def canonical(self, codes: np.ndarray) -> np.ndarray:
        result = codes.copy()
        if self.most is None:
            return result
        for columns in self._node_columns:
            of_node = codes[:, columns].astype(np.intp)
            edges = of_node.shape[1]
            chosen = of_node != 0
            turn = (np.arange(edges) - of_node.sum(axis=1, keepdims=True)) % edges
            met_before = (chosen[:, None, :] & (turn[:, None, :] < turn[:, :, None])).sum(axis=2)
            result[:, columns] *= chosen & (met_before < self.most)
        return result

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        if self.most is None:
            genes = self._node_columns[-1].stop
            return rng.integers(len(self.operations), size=(n, genes)).astype(DTYPE)
        drawn = []
        for columns in self._node_columns:
            edges = columns.stop - columns.start
            chosen = rng.random((n, edges)).argsort(axis=1).argsort(axis=1) < self.most
            drawn.append(chosen * rng.integers(1, len(self.operations), size=(n, edges)))
        return np.concatenate(drawn, axis=1).astype(DTYPE)

    def regrets(self, log_probabilities: np.ndarray) -> np.ndarray:
        """With ``most``, an edge that is none has 0, and every other one less, so that each edge is a gain: the more
        probable its operation, whatever the probability of none (https://arxiv.org/abs/1806.09055)."""
        if self.most is None:
            return log_probabilities.max(axis=1, keepdims=True) - log_probabilities
        regrets = -log_probabilities
        regrets[:, 1:] -= 1 + regrets[:, 1:][np.isfinite(regrets[:, 1:])].max(initial=0.0)
        regrets[:, 0] = 0.0
        return regrets

    def regret(self, codes: np.ndarray, regrets: np.ndarray) -> np.ndarray:
        return regrets[np.arange(codes.shape[1]), codes].sum(axis=1)

    def least_regret(self, regrets: np.ndarray) -> np.ndarray:
        code = regrets.argmin(axis=1)
        if self.most is not None:
            best = regrets.min(axis=1)
            for columns in self._node_columns:
                code[columns] *= best[columns].argsort(kind="stable").argsort() < self.most
        return code.astype(DTYPE)

    def decode(self, code: Sequence[int]) -> Cell:
        chosen = [code[columns] for columns in self._node_columns]
        return tuple(
            tuple((self.operations[option], state) for state, option in enumerate(node) if option) for node in chosen
        )

    def encode(self, cell: Cell) -> list[int]:
        """Raises ``ValueError`` naming the node that is not of this space."""
        if len(cell) != self.nodes:
            raise ValueError(f"has {len(cell)} nodes; this space has {self.nodes}")
        code = []
        for number, connections in enumerate(cell):
            states = [state for _, state in connections]
            allowed = range(self.inputs + number)
            most = min(len(allowed), self.most or len(allowed))
            if set(states) - set(allowed) or len(set(states)) < len(states) or len(states) > most:
                raise ValueError(
                    f"has the node {number} with the states {states}; it may read up to {most} of 0 to {allowed[-1]}"
                )
            unknown = {operation for operation, _ in connections} - set(self.operations)
            if unknown:
                raise ValueError(
                    f"has {', '.join(sorted(unknown))} in node {number}; there are {', '.join(self.operations)}"
                )
            chosen = {state: self.operations.index(operation) for operation, state in connections}
            code += [chosen.get(state, 0) for state in allowed]
        return code
