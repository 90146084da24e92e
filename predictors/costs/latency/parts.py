"""What of a space must be timed: each distinct stem, block and head once, and how they add up to its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ofa.predictors.costs.latency.timer import Shape, TimedModel
from ofa.predictors.costs.part_genes import PartGenes, part_genes
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import FAMILIES

MakePart = Callable[[nn.Module, Shape], Any]


@dataclass
class Models:
    """The distinct things to time: what ``make`` made of each, and the shape of what it reads."""

    make: MakePart
    timed: list[TimedModel] = field(default_factory=list)
    _ids: dict[tuple[str, Shape], int] = field(default_factory=dict)

    def add(self, key: str, module: nn.Module, shape: Shape) -> int:
        """The index of this model in ``timed``; ``make`` is called for new ones."""
        index = self._ids.setdefault((key, shape), len(self.timed))
        if index == len(self.timed):
            self.timed.append((self.make(module, shape), shape))
        return index


@dataclass(frozen=True)
class Layout:
    """Where the parts of a space are in ``Models.timed``: stem and head at each resolution ``(resolutions,)``, and each
    block at every resolution with every choice ``(resolutions, *options of its other genes)``."""

    stems: np.ndarray
    heads: np.ndarray
    blocks: list[np.ndarray]

    def costs(self, times: np.ndarray) -> list[np.ndarray]:
        """The ``times`` ``(models,)`` of stem, head and each block."""
        return [times[ids] for ids in (self.stems, self.heads, *self.blocks)]


@contextmanager
def same_weights() -> Iterator[None]:
    """New modules get the same weights each time: a measurement that goes on is recognised by its models' digests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@same_weights()
def add_parts(models: Models, space: SearchSpace, head: Mapping[str, int], *, progress: bool) -> Layout:
    """Adds stems, heads and blocks of ``space`` at all of its resolutions. ``head``: ``num_classes``, ``in_chans``."""
    family, rows = FAMILIES[space.family], part_genes(space)[1:]
    resolutions = space.resolutions
    sides = np.array([space.sizes(resolution) for resolution in resolutions])
    stems, heads = (np.zeros(len(resolutions), int) for _ in range(2))
    blocks = [np.zeros(row.shape, int) for row in rows]
    codes = _uniform_codes(space, rows)
    for code in tqdm(codes, desc="write blocks", disable=None if progress else True):
        description = family.describe(space, space.decode(code), **head)
        stem, stages, classifier = family.parts(family.build(description).eval())
        for at, resolution in enumerate(resolutions):
            last = int(sides[at, -1])
            stems[at] = models.add("stem", stem, (head["in_chans"], resolution, resolution))
            heads[at] = models.add("head", classifier, (space.stages[-1].width, last, last))
        for number, (slot, row) in enumerate(zip(space.slots, rows, strict=True)):
            key = f"{slot.in_width} {description['blocks'][1 + slot.stage][slot.index]}"
            options = tuple(code[list(row.genes[1:])])
            for at, side in enumerate(sides[:, number].tolist()):
                index = models.add(key, stages[slot.stage][slot.index], (slot.in_width, side, side))
                blocks[number][(at, *options)] = index
    return Layout(stems, heads, blocks)


@same_weights()
def add_subnet(models: Models, space: SearchSpace, subnet: Subnet, head: Mapping[str, int]) -> int:
    """Adds a whole network; its index in ``models.timed``. Weights do not matter to its time."""
    family = FAMILIES[space.family]
    model = family.build(family.describe(space, subnet, **head)).eval()
    return models.add(str(subnet), model, (head["in_chans"], subnet.resolution, subnet.resolution))


def _uniform_codes(space: SearchSpace, rows: Sequence[PartGenes]) -> list[np.ndarray]:
    """Codes of full depth that between them have every choice of every block: blocks alike as far as can be."""
    largest = space.option_counts - 1
    codes = []
    for wanted in product(*map(range, np.max([row.shape[1:] for row in rows], axis=0))):
        code = largest.copy()
        for row in rows:
            genes = list(row.genes[1:])
            code[genes] = np.minimum(wanted, largest[genes])
        codes.append(code)
    return codes
