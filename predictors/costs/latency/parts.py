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
from ofa.supernet import families
from ofa.supernet.space import BlockPosition, SearchSpace, Subnet

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
    """Where the parts of a space are in ``Models.timed``: stem and head of each resolution, and each block with each
    choice of its own genes and each side of the map that it reads."""

    stems: list[int]
    heads: list[int]
    blocks: dict[tuple[BlockPosition, tuple[Any, ...], int], int]

    def costs(self, space: SearchSpace, times: np.ndarray) -> list[np.ndarray]:
        """The ``times`` ``(models,)`` of the parts: of stem and head ``(resolutions,)``, of each block ``(resolutions,
        options of its first gene, ...)``."""
        costs = [times[self.stems], times[self.heads]]
        sides = [space.sizes(resolution) for resolution in space.resolutions]
        for number, block in enumerate(space.blocks):
            options = [space.genes[column].options for column in space.genes_of_block(block.stage, block.index)]
            index = [self.blocks[block, tuple(own), row[number]] for row in sides for own in product(*options)]
            costs.append(times[index].reshape(len(sides), *map(len, options)))
        return costs


@contextmanager
def same_weights() -> Iterator[None]:
    """New modules get the same weights each time: a measurement that goes on is recognised by its models' digests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@same_weights()
def add_parts(models: Models, space: SearchSpace, head: Mapping[str, int], *, progress: bool) -> Layout:
    """Adds stems, heads and blocks of ``space`` at all of its resolutions. ``head``: ``num_classes``, ``in_chans``."""
    family = families.model(space.family)
    layout = Layout([], [], {})
    sides = {resolution: space.sizes(resolution) for resolution in space.resolutions}
    for subnet in tqdm(_uniform_subnets(space), desc="write blocks", disable=None if progress else True):
        model = family.build(family.describe(space, subnet, **head)).eval()
        stem, stages, classifier = family.parts(model)
        choices, shapes = space.choices(subnet), space.shapes(subnet)
        # The ends are the same in every subnet.
        for resolution in space.resolutions if not layout.stems else ():
            last = sides[resolution][-1]
            layout.stems.append(models.add("stem", stem, (head["in_chans"], resolution, resolution)))
            layout.heads.append(models.add("head", classifier, (shapes[-1].out_channels, last, last)))
        # Blocks that read the same as an equal one before are timed once.
        for number, block in enumerate(space.blocks):
            module, own = stages[block.stage][block.index], tuple(choices.blocks[block.stage, block.index].values())
            key = repr(module)
            for resolution in space.resolutions:
                side = sides[resolution][number]
                layout.blocks[block, own, side] = models.add(key, module, (block.in_channels, side, side))
    return layout


@same_weights()
def add_subnet(models: Models, space: SearchSpace, subnet: Subnet, head: Mapping[str, int]) -> int:
    """Adds a whole network; its index in ``models.timed``. Weights do not matter to its time."""
    family = families.model(space.family)
    model = family.build(family.describe(space, subnet, **head)).eval()
    return models.add(str(subnet), model, (head["in_chans"], subnet.resolution, subnet.resolution))


def _uniform_subnets(space: SearchSpace) -> Sequence[Subnet]:
    """Full-depth subnets that between them have every choice of its own genes in every block."""
    columns = [list(space.genes_of_block(block.stage, block.index)) for block in space.blocks]
    choices = [list(product(*(range(space.num_options[column]) for column in own))) for own in columns]
    codes = np.repeat(space.encode(space.largest)[None], max(map(len, choices)), axis=0)
    for row, code in enumerate(codes):
        for own, of_block in zip(columns, choices, strict=True):
            code[own] = of_block[min(row, len(of_block) - 1)]
    return [space.decode(code) for code in codes]
