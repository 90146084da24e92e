"""A table of networks that others have trained, as a search space with known answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa.supernet.genome import DTYPE, Genome

if TYPE_CHECKING:
    from torch import nn

_DRAWS = 1000  # codes that tell how much of a space is known


class KnownNetworks:
    """Finds codes among those that a file has; of a network that is there twice the first row.

    ``identify`` maps codes ``(n, genes)`` to integers ``(n, k)`` that are equal where the network is the same; by
    default the space's canonical form.
    """

    def __init__(self, codes: np.ndarray, identify: Callable[[np.ndarray], np.ndarray]) -> None:
        self._identify = identify
        keys = self._keys(codes)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def rows(self, codes: np.ndarray) -> np.ndarray:
        """The row ``(n,)`` of each code in the file; -1 for a network that it does not have."""
        keys = self._keys(np.asarray(codes, DTYPE))
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[place] == keys, self._order[place], -1)

    def _keys(self, codes: np.ndarray) -> np.ndarray:
        # Bytes strings drop trailing zeros, which keys of one length can spare.
        identity = np.ascontiguousarray(self._identify(codes))
        return identity.view(f"S{identity.shape[1] * identity.itemsize}").ravel()


@dataclass(frozen=True, eq=False)
class KnownCost:
    """A cost that a file has of its networks; a search can limit it as it does a ``CostTable``.

    Attributes:
        name, unit: e.g. ``"latency_pixel4"`` in ``"ms"``; empty for a count, or a unit that the file does not say.
    """

    name: str
    unit: str
    space: Genome
    values: np.ndarray
    known: KnownNetworks = field(repr=False)

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """Of each network of ``codes`` ``(n, genes)``: float64 ``(n,)``; NaN where the file has none."""
        rows = self.known.rows(codes)
        return np.where(rows < 0, np.nan, self.values[rows])


@dataclass(frozen=True, eq=False, kw_only=True)
class Benchmark:
    """What one file says of its networks.

    A network that the file does not have has the accuracy and the costs NaN, which no search takes for a feasible one.

    Attributes:
        name: of the benchmark, such as ``"NAS-Bench-201"``.
        space: whose codes name the networks.
        codes: the networks of the file ``(n, genes)``, each once.
        accuracies: of each data set ``(n,)`` in percent. The first one is what ``accuracy`` gives unasked.
        known_costs: of each cost ``(n,)``.
        units: of the costs that have one.
        counted: costs of every network of the space that need no file, such as multiply-accumulates.
        identify: see ``KnownNetworks``; default: the space's canonical form.
        build: ``build(network, num_classes)`` makes the torch module of a decoded code; None where a space has none.
    """

    name: str
    space: Genome
    codes: np.ndarray = field(repr=False)
    accuracies: Mapping[str, np.ndarray] = field(repr=False)
    known_costs: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    units: Mapping[str, str] = field(default_factory=dict, repr=False)
    counted: Mapping[str, Any] = field(default_factory=dict, repr=False)
    identify: Callable[[np.ndarray], np.ndarray] | None = field(default=None, repr=False)
    build: Callable[[Any, int], nn.Module] | None = field(default=None, repr=False)

    def distinct(self) -> Benchmark:
        """The same without the rows whose network stands above them already."""
        first = np.flatnonzero(self.rows(self.codes) == np.arange(len(self.codes)))
        if len(first) == len(self.codes):
            return self
        columns = {
            field: {name: np.asarray(values)[first] for name, values in getattr(self, field).items()}
            for field in ("accuracies", "known_costs")
        }
        return replace(self, codes=self.codes[first], **columns)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of what the networks were trained on, and of their validation splits."""
        return tuple(self.accuracies)

    @cached_property
    def known(self) -> KnownNetworks:
        return KnownNetworks(self.codes, self.identify or self.space.canonical)

    @cached_property
    def costs(self) -> dict[str, Any]:
        """Cost tables by name, each with ``predict(codes)``: those of the file, and those that are counted."""
        known = {
            name: KnownCost(name, self.units.get(name, ""), self.space, np.asarray(values, float), self.known)
            for name, values in self.known_costs.items()
        }
        return {**self.counted, **known}

    def rows(self, codes: np.ndarray) -> np.ndarray:
        """Where in the file each network of ``codes`` ``(n, genes)`` is: ``(n,)``, -1 where it is not."""
        return self.known.rows(codes)

    def accuracy(self, codes: np.ndarray, dataset: str | None = None) -> np.ndarray:
        """In percent, of each network of ``codes`` ``(n, genes)``: float64 ``(n,)``, NaN where the file has none.

        Raises ``KeyError`` naming the data sets that there are, when ``dataset`` is another one.
        """
        values = self.accuracies[self.dataset(dataset)]
        rows = self.rows(codes)
        return np.where(rows < 0, np.nan, np.asarray(values, float)[rows])

    def dataset(self, name: str | None) -> str:
        """The data set that is meant; without a name the first one. Raises ``KeyError`` when there is no such one."""
        if not self.accuracies:
            raise KeyError(f"{self.name} has costs alone, no accuracies")
        if name is not None and name not in self.accuracies:
            raise KeyError(f"{self.name} has no data set {name!r}; there are {', '.join(self.accuracies)}")
        return name or next(iter(self.accuracies))

    @cached_property
    def share_known(self) -> float:
        """The share of a random network's codes that the file has: 1 for a whole space."""
        if len(self.codes) == self.space.size:
            return 1.0
        drawn = self.space.sample(_DRAWS, np.random.default_rng((0, _DRAWS)))
        return float((self.rows(drawn) >= 0).mean())

    def network(self, code: np.ndarray, *, num_classes: int = 10) -> nn.Module:
        """The plain torch module of one code ``(genes,)``, with weights at their initial values.

        Raises ``ValueError`` where the space is a list of choices that no module is known of.
        """
        if self.build is None:
            raise ValueError(f"{self.name} is read as a list of choices; there is no builder of its networks here")
        return self.build(self.space.decode(code), num_classes)
