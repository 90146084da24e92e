"""Costs as tables: what each part of a subnet costs, summed (or maximised) over the parts that run.

This is the value alone. ``ofa.CostTable`` (``ofa.predictors.costs.cost_table``) adds the constructors that count and
measure; what they are made of returns a ``Table``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ofa.predictors.blas import one_blas_thread
from ofa.predictors.bounds import above_zero
from ofa.predictors.costs import table_file
from ofa.predictors.costs.caches import Caches, missed
from ofa.predictors.costs.environment import differences
from ofa.predictors.costs.parts import Part, PartLookup
from ofa.supernet.genome import Genome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

_COMBINE: dict[str, tuple[np.ufunc, float]] = {"sum": (np.add, 0.0), "max": (np.maximum, -np.inf)}
_CHUNK = 2048  # codes whose indices and costs fit the processor's caches
SAVED = ("name", "unit", "slope", "intercept", "info", "combine", "floor")


@dataclass(frozen=True, eq=False)
class Table:
    """``intercept + slope * (sum over the parts that run)``, or the largest of these instead of their sum.

    Attributes:
        space: any genome with a ``to_dict``.
        name, unit: e.g. ``"latency"`` in ``"ms"``.
        parts: what each part of a network costs. The first is added last, to the sum of the others: floats add up
            differently in another order, and a saved table predicts what it did.
        info: what the numbers hold for, and how well they were found to predict (JSON values). Measured costs have the
            runtime's ``environment`` in it.
        floor: lower predictions approach zero and stay above it (``bounds.above_zero``); 0 where sums are exact.
        combine: ``"max"`` for costs that only one part at a time has, such as peak memory.
        caches: a second sum, of which a network adds the share of its weights that no cache keeps: for latencies.

    Raises ``ValueError`` for another ``combine``, and for parts or caches that do not fit the genes of the space.
    """

    space: Genome
    name: str
    unit: str
    parts: tuple[Part, ...]
    slope: float = 1.0
    intercept: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)
    combine: Literal["sum", "max"] = "sum"
    floor: float = 0.0
    caches: Caches | None = None

    def __post_init__(self) -> None:
        if self.combine not in _COMBINE:
            raise ValueError(f"combine is {self.combine!r}; it must be one of {', '.join(_COMBINE)}")
        if not self.parts:
            raise ValueError("a cost table has no parts; give at least one")
        num_options = self.space.num_options
        for number, part in enumerate(self.parts):
            genes = (*part.genes, *(() if part.depth_gene is None else (part.depth_gene,)))
            if not all(0 <= gene < len(num_options) for gene in genes):
                raise ValueError(f"part {number} has the genes {genes}; this space has {len(num_options)}")
            if (shape := tuple(num_options[list(part.genes)].tolist())) != part.costs.shape:
                raise ValueError(f"part {number} has costs of shape {part.costs.shape}; its genes have {shape} options")
        if self.caches is not None:
            if self.combine != "sum":
                raise ValueError(f"{self.name} is the largest of its parts; only a sum over parts can have caches")
            self.caches.parts(self.parts)  # which raises where they do not fit

    @one_blas_thread
    def predict(self, codes: np.ndarray) -> np.ndarray:
        """Cost of each subnet of ``codes`` ``(n, genes)``: float64 ``(n,)``, in ``unit``."""
        merge, off = _COMBINE[self.combine]
        total = np.empty(len(codes))
        for start in range(0, len(codes), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            costs = self._costs(codes[chunk])
            total[chunk] = merge(costs[:, 0], merge.reduce(costs[:, 1:], axis=1, initial=off))
        return above_zero(self.intercept + self.slope * total, self.floor)

    @one_blas_thread
    def predict_parts(self, codes: np.ndarray) -> np.ndarray:
        """What each part adds in each subnet of ``codes``: float64 ``(n, parts)``, before slope and intercept.

        A part that does not run has 0, or in a table of maxima minus infinity.
        """
        return self._costs(codes)

    def _costs(self, codes: np.ndarray) -> np.ndarray:
        if self.caches is None:
            return self._lookup.costs(codes)
        entries = self._lookup.entries(codes)
        costs, extra, weights = (flat.take(entries) for flat in self._flats)
        return costs + missed(weights.sum(axis=1), self.caches.kept)[:, None] * extra

    def expected(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Expected cost when genes are drawn independently, differentiable: see ``ofa.predictors.costs.expected``.

        ``probabilities`` has for each gene its options' probabilities ``(..., options)``, with one leading shape, which
        is the result's. The bend of ``floor`` is left out: it is the mean of ``predict`` where no subnet is below it.
        With ``caches`` it is near that mean, not equal: they miss the share of the expected weights.
        """
        from ofa.predictors.costs.expected import expected_sum  # they import torch
        from ofa.predictors.costs.expected_maximum import expected_maximum

        total = (expected_sum if self.combine == "sum" else expected_maximum)(self.parts, probabilities)
        if self.caches is not None:
            extra, weights = (expected_sum(parts, probabilities) for parts in self.caches.parts(self.parts))
            total = total + missed(weights, self.caches.kept) * extra
        return self.intercept + self.slope * total

    @cached_property
    def _lookup(self) -> PartLookup:
        return PartLookup(self.parts, self.space.num_options, off=_COMBINE[self.combine][1])

    @cached_property
    def _flats(self) -> list[np.ndarray]:
        """The costs of all parts, what they cost more from cold caches, and their weights."""
        return [self._lookup.flat(parts) for parts in (self.parts, *self.caches.parts(self.parts))]

    def save(self, path: Path) -> None:
        """As JSON, atomically."""
        values = {name: getattr(self, name) for name in SAVED}
        table_file.write(path, self.space, self.parts, values, caches=self.caches)

    @classmethod
    def load(cls, path: Path, *, foreign: bool = False, environment: Mapping[str, Any] | None = None) -> Self:
        """Predicts exactly what the saved table did.

        A table of times holds for where it was measured: in another environment it is loaded only with
        ``foreign=True``, with a ``UserWarning``. ``environment`` is what the costs will be compared with (a runtime's
        ``environment(...)``); without it, the table's own runtime and settings on this machine.

        Raises ``ValueError`` naming the file when it is damaged or of a newer version, or the runtime, version, threads
        or processor that differ.
        """
        document = table_file.read(path)
        try:
            space, parts, values = table_file.parse(document)
            table = cls._of_file(space, parts, values)
            elsewhere = differences(table.info, environment)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ValueError(f"{path} is damaged: it is no cost table ({error})") from error
        if elsewhere:
            message = f"{path} was measured elsewhere: {'; '.join(elsewhere)}"
            if not foreign:
                raise ValueError(f"{message}. Measure again here, or load it with foreign=True")
            warnings.warn(f"{message}. Its costs may not hold here", UserWarning, stacklevel=2)
        return table

    @classmethod
    def _of_file(cls, space: Genome, parts: tuple[Part, ...], values: Mapping[str, Any]) -> Self:
        return cls(space=space, parts=parts, **values)
