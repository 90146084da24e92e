"""Cell spaces: the genes of one or two cells, and the network that repeats them. Nothing here needs torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ofa.supernet.cells.layouts import LAYOUTS, Layout
from ofa.supernet.cells.outputs import output_nodes
from ofa.supernet.cells.skeleton import Skeleton
from ofa.supernet.cells.subnet import Cell, CellSubnet
from ofa.supernet.cells.wiring import Wiring
from ofa.supernet.genome import DTYPE, Gene, Genome

FAMILY = "cells"
# Far above what is published: more is a slip of the pen.
_BOUNDS = {"nodes": (1, 5), "channels": (1, 1024), "cells": (1, 100), "resolution": (8, 2048)}


@dataclass(frozen=True)
class CellSpace(Genome):
    """A published cell space at some size. ``CellSpace.preset`` is the way to one.

    The genes are those of the cells alone, so codes of one layout mean the same cells whatever the size of the network:
    a small network can be searched, and a large one built. A network is a ``CellSubnet``.

    Attributes:
        layout: a key of ``LAYOUTS``.
        nodes: that a cell makes, its inputs not counted.
        channels: of a state of the first cells; twice as many after each halving of the map.
        cells: of NAS-Bench-201 in each of three stages, of the others in all.
        resolution: the side of its square images, in pixels.

    How codes with too many edges are read (DARTS), and which order two connections have (NASNet): see ``Edges`` and
    ``Pairs``. Isomorphic cells have different codes, as in NAS-Bench-201's table of 15,625.
    """

    layout: str
    nodes: int
    channels: int
    cells: int
    resolution: int

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout is {self.layout!r}; there are {', '.join(LAYOUTS)}")
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ValueError(f"{name} is {value!r}; it must be an integer from {least} to {most}")

    @classmethod
    def preset(cls, name: str, **sizes: int) -> CellSpace:
        """``"nasbench201"``, ``"darts"`` or ``"nasnet"``, with any of ``nodes``, ``channels``, ``cells`` and
        ``resolution`` changed. Raises ``KeyError`` naming the known ones."""
        if name not in LAYOUTS:
            raise KeyError(f"no cell space is called {name!r}; there are {', '.join(LAYOUTS)}")
        return cls(name, **{**LAYOUTS[name].sizes, **sizes})

    def resized(self, **sizes: int) -> CellSpace:
        """The same cells in a network of another size: any of ``channels``, ``cells`` and ``resolution``."""
        if "nodes" in sizes or "layout" in sizes:
            raise ValueError("resized changes channels, cells and resolution; other nodes are another space")
        return replace(self, **sizes)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CellSpace:
        """Raises ``ValueError`` that names the missing or unknown key."""
        expected = {"family", "layout", *_BOUNDS}
        if set(values) != expected:
            wrong = sorted(set(values) ^ expected)
            raise ValueError(f"a cell space has exactly the keys {sorted(expected)}; missing or unknown: {wrong}")
        if values["family"] != FAMILY:
            raise ValueError(f"family is {values['family']!r}; this class reads {FAMILY!r}")
        return cls(**{name: value for name, value in values.items() if name != "family"})

    def to_dict(self) -> dict[str, Any]:
        return {"family": FAMILY, **asdict(self)}

    # -- what it is made of ---------------------------------------------------------------------------------------

    @property
    def facts(self) -> Layout:
        """What its layout says."""
        return LAYOUTS[self.layout]

    @cached_property
    def wiring(self) -> Wiring:
        """Of a cell of any kind."""
        facts = self.facts
        return facts.wiring(inputs=facts.inputs, nodes=self.nodes, operations=facts.operations)

    @cached_property
    def skeleton(self) -> Skeleton:
        """The network around the cells."""
        return self.facts.skeleton(
            nodes=self.nodes, channels=self.channels, cells=self.cells, resolution=self.resolution
        )

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        return tuple(gene for kind in self.facts.kinds for gene in self.wiring.genes(kind))

    def columns(self, kind: str) -> slice:
        """The columns of a code that are of the cell of one kind."""
        genes = self.num_genes // len(self.facts.kinds)
        start = genes * self.facts.kinds.index(kind)
        return slice(start, start + genes)

    @cached_property
    def size(self) -> int:
        """Exact number of distinct networks."""
        return math.prod(self.wiring.size for _ in self.facts.kinds)

    # -- populations ----------------------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:  # type: ignore[override]
        """``n`` canonical codes ``(n, genes)``, drawn as ``Edges`` and ``Pairs`` say.

        Operations have no order, so there is no ``min_options``: nothing opens from the largest down.
        """
        return self.canonical(np.concatenate([self.wiring.sample(n, rng) for _ in self.facts.kinds], axis=1))

    def canonical(self, codes: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [self.wiring.canonical(codes[:, self.columns(kind)]) for kind in self.facts.kinds], axis=1
        )

    # -- the most probable networks -------------------------------------------------------------------------------

    def regrets(self, log_probabilities: np.ndarray) -> np.ndarray:
        return np.concatenate([self.wiring.regrets(log_probabilities[self.columns(kind)]) for kind in self.facts.kinds])

    def regret(self, codes: np.ndarray, regrets: np.ndarray) -> np.ndarray:
        canonical, columns = self.canonical(codes), [self.columns(kind) for kind in self.facts.kinds]
        return sum(self.wiring.regret(canonical[:, own], regrets[own]) for own in columns)

    def least_regret(self, regrets: np.ndarray) -> np.ndarray:
        columns = [self.columns(kind) for kind in self.facts.kinds]
        return np.concatenate([self.wiring.least_regret(regrets[own]) for own in columns])

    # -- one network ----------------------------------------------------------------------------------------------

    def decode(self, code: np.ndarray) -> CellSubnet:
        """The canonical network of one code ``(genes,)``."""
        canonical = self.canonical(np.asarray(code, DTYPE)[None])[0].tolist()
        return CellSubnet(tuple((kind, self.wiring.decode(canonical[self.columns(kind)])) for kind in self.facts.kinds))

    def encode(self, network: CellSubnet) -> np.ndarray:
        """The canonical code ``(genes,)``. Raises ``ValueError`` naming the node that is not of this space."""
        kinds = [kind for kind, _ in network.cells]
        if kinds != list(self.facts.kinds):
            raise ValueError(f"the network has the cells {kinds}; this space has {list(self.facts.kinds)}")
        code = []
        for kind, cell in network.cells:
            try:
                code += self.wiring.encode(cell)
            except ValueError as error:
                raise ValueError(f"the network's {kind} cell {error}") from None
        return self.canonical(np.array(code, DTYPE)[None])[0]

    def output_nodes(self, cell: Cell) -> tuple[int, ...]:
        """The numbers of the nodes whose maps, concatenated, are the cell's output."""
        return output_nodes(self.facts.output, cell, inputs=self.facts.inputs)
