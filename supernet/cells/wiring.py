"""What says how a cell's nodes may be connected: the calls that ``Edges`` and ``Pairs`` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ofa.supernet.cells.subnet import Cell
from ofa.supernet.genome import Gene


class Choice(NamedTuple):
    """The columns, among a cell's genes, that choose a connection: its operation, and what it reads where that is
    chosen. The options of ``state_gene`` are the states in order."""

    operation_gene: int
    state_gene: int | None = None


class Slot(NamedTuple):
    """The connections that a node may have from one state: the choices that may make one."""

    state: int
    choices: tuple[Choice, ...]


class Wiring(Protocol):
    """The choices of one cell. Codes here are the columns of that cell alone, ``(n, genes of the cell)``."""

    inputs: int
    nodes: int
    operations: tuple[str, ...]

    def genes(self, kind: str) -> list[Gene]:
        """The genes of a cell of ``kind``, with names that begin with it."""

    @property
    def slots(self) -> tuple[tuple[Slot, ...], ...]:
        """Of each node a slot for every state that it may read, in order."""

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

    def regrets(self, log_probabilities: np.ndarray) -> np.ndarray:
        """How much less probable each option makes a network, in nats: see ``Genome.regrets``."""

    def regret(self, codes: np.ndarray, regrets: np.ndarray) -> np.ndarray:
        """Of canonical codes ``(n, genes of the cell)``: ``(n,)``."""

    def least_regret(self, regrets: np.ndarray) -> np.ndarray:
        """A code of least regret ``(genes of the cell,)``."""
