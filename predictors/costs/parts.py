"""A network's cost as parts: the stem, each block, the head; and what every part of many networks costs at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_EXACT_FLOAT32 = 2**24  # integers up to here are float32 numbers, and so are their sums


@dataclass(frozen=True, eq=False)
class Part:
    """What one part of a network costs, for every choice of the genes that it depends on.

    Attributes:
        genes: columns of a code, for instance those of resolution, width before, width, kernel and expand ratio.
        costs: float64 with one axis a gene, one entry an option.
        depth_gene: the gene that switches the part on and off; ``None`` for a part that always runs.
        min_option: the first option of ``depth_gene`` with which the part runs; it runs with all later ones.

    Raises ``ValueError`` when an axis is missing, a gene is there twice, or a cost is no finite number.
    """

    genes: tuple[int, ...]
    costs: np.ndarray
    depth_gene: int | None = None
    min_option: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "costs", np.asarray(self.costs, np.float64))
        if len(set(self.genes)) != len(self.genes) or self.costs.ndim != len(self.genes):
            raise ValueError(
                f"a part has the genes {self.genes} and costs of shape {self.costs.shape}; give one axis a gene"
            )
        if not np.isfinite(self.costs).all():
            raise ValueError(f"a part with the genes {self.genes} has a cost that is no finite number")

    def runs(self, codes: np.ndarray) -> np.ndarray:
        """In which networks of ``codes`` ``(n, genes)`` the part runs: boolean ``(n,)``."""
        if self.depth_gene is None:
            return np.ones(len(codes), bool)
        return codes[:, self.depth_gene] >= self.min_option

    def options(self, codes: np.ndarray) -> tuple[np.ndarray, ...]:
        """The option of each gene in each network: an index of ``costs`` (integers ``(n,)``, one array a gene)."""
        return tuple(codes[:, gene].astype(np.intp) for gene in self.genes)

    def with_depth(self, num_options: Sequence[int], *, off: float) -> tuple[tuple[int, ...], np.ndarray]:
        """Genes and costs of an equal part that always runs: depth is one of its genes, and switched off it costs
        ``off``."""
        if self.depth_gene is None:
            return self.genes, self.costs
        genes, costs = self.genes, self.costs
        if self.depth_gene not in genes:
            genes = (self.depth_gene, *genes)
            costs = np.broadcast_to(costs, (num_options[self.depth_gene], *costs.shape))
        runs = np.arange(num_options[self.depth_gene]) >= self.min_option
        along_depth = [-1 if gene == self.depth_gene else 1 for gene in genes]
        return genes, np.where(runs.reshape(along_depth), costs, off)


class PartLookup:
    """All parts of a space in one flat array, in which a code finds the entry of each part by one matrix product.

    The entry of a part is the sum of its genes' options, each times the stride of its axis. Depth is an axis, too, so
    that a part that is switched off finds its neutral cost, and nothing has to be masked.
    """

    def __init__(self, parts: Sequence[Part], num_options: Sequence[int], *, off: float) -> None:
        """``off`` is what a part that does not run costs: the neutral element of what combines the parts."""
        self._num_options, self._off = num_options, off
        always = [part.with_depth(num_options, off=off) for part in parts]
        sizes = [costs.size for _, costs in always]
        # A product of floats is several times faster than one of integers, and exact for integers of this size.
        exact = np.float32 if max(sizes) <= MAX_EXACT_FLOAT32 else np.float64
        self._strides = np.zeros((len(num_options), len(parts)), exact)
        for column, (genes, costs) in enumerate(always):
            for axis, gene in enumerate(genes):
                self._strides[gene, column] = np.prod(costs.shape[axis + 1 :], dtype=np.int64)
        self._offsets = (np.cumsum(sizes) - sizes).astype(np.intp)
        self._flat = self.flat(parts)

    def costs(self, codes: np.ndarray) -> np.ndarray:
        """What each part costs in each network of ``codes`` ``(n, genes)``: float64 ``(n, parts)``."""
        return self._flat.take(self.entries(codes))

    def entries(self, codes: np.ndarray) -> np.ndarray:
        """Where in the flat array the cost of each part is: ``(n, parts)``."""
        index = (codes.astype(self._strides.dtype) @ self._strides).astype(np.intp)
        index += self._offsets
        return index

    def flat(self, parts: Sequence[Part]) -> np.ndarray:
        """Other costs of the same parts in one flat array: ``entries`` finds them, too."""
        return np.concatenate([part.with_depth(self._num_options, off=self._off)[1].ravel() for part in parts])
