"""What says how a cell's nodes may be connected: the calls that ``Edges`` and ``Pairs`` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ofa.supernet.cells.subnet import Cell
from ofa.supernet.genome import Gene


class Slot(NamedTuple):
    """A connection that a node may have.

    Attributes:
        state: the state that it reads.
        operation_gene: the column, among the cell's genes, that chooses its operation.
        place: which of its node's connections it is, where those are counted; None: of each state there is one.
        state_gene: the column that chooses the state, where that is chosen; ``state`` is its option.
    """

    state: int
    operation_gene: int
    place: int | None = None
    state_gene: int | None = None

    @property
    def name(self) -> str:
        """Its name among the connections of its node."""
        return f"from_{self.state}" if self.place is None else f"place_{self.place}_from_{self.state}"


class Wiring(Protocol):
    """The choices of one cell. Codes here are the columns of that cell alone, ``(n, genes of the cell)``."""

    inputs: int
    nodes: int
    operations: tuple[str, ...]

    def genes(self, kind: str) -> list[Gene]:
        """The genes of a cell of ``kind``, with names that begin with it."""

    @property
    def slots(self) -> tuple[tuple[Slot, ...], ...]:
        """Of each node every connection that it may have."""

    @property
    def size(self) -> int:
        """Number of distinct cells."""

    def canonical(self, codes: np.ndarray) -> np.ndarray:
        """The same cells, one code a cell; a new array."""

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random cells, not all canonical."""

    def decode(self, code: Sequence[int]) -> Cell:
        """The cell of one canonical code."""

    def encode(self, cell: Cell) -> list[int]:
        """A code of the cell. Raises ``ValueError`` whose message continues "cell ..."."""


def slot_of(slots: Sequence[Slot], place: int, state: int) -> Slot:
    """The slot of the connection number ``place`` of a node, which reads ``state``."""
    return next(slot for slot in slots if slot.state == state and slot.place in (None, place))
