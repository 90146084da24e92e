"""Genes: the choices that a network is made of, and populations of networks as arrays.

A *code* is a row of small integers, one a gene: the index of the option that was chosen. A population is an array of
codes ``(n, genes)``, and every function over networks takes that array. Nothing here knows a family of networks.

One rule says which genes mean something: a gene with a block is inactive when the depth gene of its stage says that the
block does not run. In *canonical form* inactive genes are 0, so that one network has exactly one code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

DTYPE = np.int8
MAX_OPTIONS = int(np.iinfo(DTYPE).max)  # of one gene


class Gene(NamedTuple):
    """One choice.

    Attributes:
        role: what is chosen, such as ``"kernel"``; ``"depth"`` is how many blocks of a stage run.
        options: the values to choose from; ascending, where they have an order.
        stage, block: the stage that the gene belongs to, and the block within it; None for the whole network, or stage.
        ordered: whether neighbouring options are alike, so that steps and averages over them mean something.
        name: tells it from others of its role among the choices of one part of a network; its role unless given.
    """

    role: str
    options: tuple[Any, ...]
    stage: int | None = None
    block: int | None = None
    ordered: bool = True
    name: str = ""

    @property
    def key(self) -> str:
        """Its name among the choices of a part."""
        return self.name or self.role


class Genome:
    """Networks described by ``genes`` alone: codes, which genes are active, samples, inputs of predictors.

    A subclass supplies ``genes`` and may give ``decode`` and ``encode`` another form of one network.
    """

    @property
    def genes(self) -> tuple[Gene, ...]:
        """Every gene, in the order of a code's columns."""
        raise NotImplementedError

    @property
    def blocks(self) -> Sequence[Any]:
        """Every block of the largest network in order, each with ``stage`` and ``index`` (within the stage)."""
        pairs = dict.fromkeys((gene.stage, gene.block) for gene in self.genes if gene.block is not None)
        return tuple(_Block(stage, index) for stage, index in pairs)

    @property
    def num_genes(self) -> int:
        return len(self.genes)

    @property
    def num_options(self) -> np.ndarray:
        """Number of options of each gene ``(genes,)``."""
        return self._columns.num_options

    @property
    def ordered(self) -> np.ndarray:
        """Which genes' options have an order: boolean ``(genes,)``."""
        return self._columns.ordered

    def genes_of(self, role: str) -> np.ndarray:
        """The columns of a code that choose ``role`` ``(k,)``, in order; empty where nothing does."""
        return self._columns.of_role.get(role, _NO_GENES)

    def genes_of_block(self, stage: int | None, block: int) -> tuple[int, ...]:
        """The columns of a code that choose something of one block, in order."""
        return self._columns.of_block.get((stage, block), ())

    def depth_switch(self, stage: int | None, block: int) -> tuple[int | None, int]:
        """When a block runs: the column of its stage's depth, and that gene's first option with which it does.

        None instead of the column for a block that always runs because its stage has no depth. Raises ``ValueError``
        for a block that no option reaches.
        """
        column = self._columns.depth_of.get(stage)
        if column is None:
            return None, 0
        return column, _first_reaching(self.genes[column], block)

    def max_options(self, role: str) -> int:
        """The largest number of options that a gene of ``role`` has; 0 where there is no such gene."""
        return max((len(gene.options) for gene in self.genes if gene.role == role), default=0)

    @cached_property
    def size(self) -> int:
        """Exact number of distinct networks."""
        stages = [gene.stage for gene in self.genes if gene.role == "depth"]
        total = math.prod(
            len(gene.options)
            for gene in self.genes
            if gene.role != "depth" and (gene.block is None or gene.stage not in stages)
        )
        for gene in self.genes:
            if gene.role == "depth":
                inside = [(other.block, len(other.options)) for other in self.genes if other.stage == gene.stage]
                blocks = [(block, count) for block, count in inside if block is not None]
                total *= sum(math.prod(count for block, count in blocks if block < depth) for depth in gene.options)
        return total

    # -- populations ----------------------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator, *, min_options: np.ndarray | None = None) -> np.ndarray:
        """``n`` canonical codes ``(n, genes)``, every gene drawn uniformly.

        ``min_options`` ``(genes,)`` is the smallest option index that each gene may take (training opens options from
        the largest down); default 0.
        """
        low = np.zeros(self.num_genes, int) if min_options is None else min_options
        return self.canonical(rng.integers(low, self._columns.num_options, size=(n, self.num_genes)).astype(DTYPE))

    def active_genes(self, codes: np.ndarray) -> np.ndarray:
        """Which genes mean something: boolean ``(n, genes)``."""
        return codes.take(self._columns.gene_depth, axis=1) >= self._columns.gene_least

    def active(self, codes: np.ndarray) -> np.ndarray:
        """Which blocks run: boolean ``(n, blocks)``."""
        return codes.take(self._columns.block_depth, axis=1) >= self._columns.block_least

    def canonical(self, codes: np.ndarray) -> np.ndarray:
        """The same networks with their inactive genes set to 0; a new array."""
        return codes * self.active_genes(codes)

    def one_hot(self, codes: np.ndarray) -> np.ndarray:
        """Float32 ``(n, sum of the numbers of options)``; the columns of inactive genes are all zero."""
        counts = self._columns.num_options
        result = np.zeros((len(codes), counts.sum()), np.float32)
        result[np.arange(len(codes))[:, None], np.cumsum(counts) - counts + codes] = self.active_genes(codes)
        return result

    # -- the most probable networks -------------------------------------------------------------------------------

    def regrets(self, log_probabilities: np.ndarray) -> np.ndarray:
        """How much less probable each option is than its gene's best, in nats ``(genes, most options)``.

        Of ``log_probabilities`` in the same shape: minus infinity for what must not be chosen, and where a gene has no
        such option.
        """
        return log_probabilities.max(axis=1, keepdims=True) - log_probabilities

    def regret(self, codes: np.ndarray, regrets: np.ndarray) -> np.ndarray:
        """The sum of ``regrets`` over the active genes of each of ``codes``: ``(n,)``; the best code has the least."""
        values = regrets[np.arange(self.num_genes), codes]
        return np.where(self.active_genes(codes), values, 0.0).sum(axis=1)

    def least_regret(self, regrets: np.ndarray) -> np.ndarray:
        """The code of least regret ``(genes,)``; inactive genes are at their best, too."""
        return regrets.argmin(axis=1).astype(DTYPE)

    # -- one network ----------------------------------------------------------------------------------------------

    def decode(self, code: np.ndarray) -> Any:
        """The value of each gene of one code ``(genes,)``, in canonical form."""
        code = self.canonical(np.asarray(code, DTYPE)[None])[0]
        return tuple(gene.options[index] for gene, index in zip(self.genes, code.tolist(), strict=True))

    def encode(self, network: Any) -> np.ndarray:
        """The canonical code ``(genes,)`` of one value a gene. Raises ``ValueError`` naming the gene that is wrong."""
        if len(network) != self.num_genes:
            raise ValueError(f"{len(network)} choices; this space has {self.num_genes} genes")
        code = np.empty(self.num_genes, DTYPE)
        for column, (value, gene) in enumerate(zip(network, self.genes, strict=True)):
            if value not in gene.options:
                raise ValueError(f"choices[{column}] is {value}; this space allows {list(gene.options)}")
            code[column] = gene.options.index(value)
        return self.canonical(code[None])[0]

    @property
    def smallest(self) -> Any:
        return self.decode(np.zeros(self.num_genes, DTYPE))

    @property
    def largest(self) -> Any:
        return self.decode((self._columns.num_options - 1).astype(DTYPE))

    @cached_property
    def _columns(self) -> _Columns:
        return _columns_of(self.genes, self.blocks)


class _Block(NamedTuple):
    stage: int | None
    index: int


@dataclass(frozen=True, eq=False)  # arrays have no equality, and spaces compare what they cache
class _Columns:
    """What a genome asks its genes again and again, as arrays.

    A gene or block runs where the code's column ``..._depth`` is at least ``..._least``.
    """

    num_options: np.ndarray
    ordered: np.ndarray
    of_role: dict[str, np.ndarray]
    of_block: dict[tuple[int | None, int], tuple[int, ...]]
    depth_of: dict[int | None, int]
    gene_depth: np.ndarray
    gene_least: np.ndarray
    block_depth: np.ndarray
    block_least: np.ndarray


def _columns_of(genes: Sequence[Gene], blocks: Sequence[Any]) -> _Columns:
    """Raises ``ValueError`` for a block that no option of its stage's depth reaches."""
    depth_of = {gene.stage: column for column, gene in enumerate(genes) if gene.role == "depth"}
    of_block: dict[tuple[int | None, int], tuple[int, ...]] = {}
    for column, gene in enumerate(genes):
        if gene.block is not None:
            of_block[gene.stage, gene.block] = (*of_block.get((gene.stage, gene.block), ()), column)

    def switch(stage: int | None, block: int | None) -> tuple[int, int]:
        if block is None or stage not in depth_of:
            return 0, 0
        return depth_of[stage], _first_reaching(genes[depth_of[stage]], block)

    gene_switches = np.array([switch(gene.stage, gene.block) for gene in genes]).reshape(-1, 2)
    block_switches = np.array([switch(block.stage, block.index) for block in blocks], int).reshape(-1, 2)
    roles = dict.fromkeys(gene.role for gene in genes)
    return _Columns(
        num_options=_fixed([len(gene.options) for gene in genes]),
        ordered=_fixed([gene.ordered for gene in genes]),
        of_role={role: _fixed(np.flatnonzero([gene.role == role for gene in genes])) for role in roles},
        of_block=of_block,
        depth_of=depth_of,
        gene_depth=gene_switches[:, 0],
        gene_least=gene_switches[:, 1].astype(DTYPE),
        block_depth=block_switches[:, 0],
        block_least=block_switches[:, 1].astype(DTYPE),
    )


def _first_reaching(depth: Gene, block: int) -> int:
    """The first option of a depth gene with which its stage has the block."""
    reaching = [index for index, blocks in enumerate(depth.options) if blocks > block]
    if not reaching:
        raise ValueError(f"block {block} of stage {depth.stage} never runs: its stage has fewer blocks")
    return reaching[0]


def _fixed(values: Any) -> np.ndarray:
    """An array that callers cannot change."""
    array = np.array(values)
    array.flags.writeable = False
    return array


_NO_GENES = _fixed(np.empty(0, np.intp))
