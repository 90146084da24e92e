"""What of a space must be timed: each distinct stem, block and head once, and how they add up to its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ofa.predictors.costs.latency.timer import Shape, TimedModel
from ofa.supernet.space import SearchSpace, Slot, Subnet
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
    """Where the parts of a space are in ``Models.timed``: stem and head of each resolution, and the block of each slot,
    kernel, expand ratio and side of the map that it reads."""

    stems: list[int]
    heads: list[int]
    blocks: dict[tuple[Slot, int, float, int], int]

    def costs(self, space: SearchSpace, times: np.ndarray) -> list[np.ndarray]:
        """The ``times`` ``(models,)`` of the parts: of stem and head ``(resolutions,)``, of each block ``(resolutions,
        kernels, expands)``."""
        costs = [times[self.stems], times[self.heads]]
        sides = [space.sizes(resolution) for resolution in space.resolutions]
        for number, slot in enumerate(space.slots):
            stage = space.stages[slot.stage]
            choices = product((row[number] for row in sides), stage.kernels, stage.expands)
            index = [self.blocks[slot, kernel, expand, side] for side, kernel, expand in choices]
            costs.append(times[index].reshape(len(sides), len(stage.kernels), len(stage.expands)))
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
    family = FAMILIES[space.family]
    layout = Layout([], [], {})
    sides = {resolution: space.sizes(resolution) for resolution in space.resolutions}
    for subnet in tqdm(_uniform_subnets(space), desc="write blocks", disable=None if progress else True):
        description = family.describe(space, subnet, **head)
        stem, stages, classifier = family.parts(family.build(description).eval())
        # The ends are the same in every subnet.
        for resolution in space.resolutions if not layout.stems else ():
            last = sides[resolution][-1]
            layout.stems.append(models.add("stem", stem, (head["in_chans"], resolution, resolution)))
            layout.heads.append(models.add("head", classifier, (space.stages[-1].width, last, last)))
        for number, slot in enumerate(space.slots):
            key = f"{slot.in_width} {description['blocks'][1 + slot.stage][slot.index]}"
            for resolution in space.resolutions:
                side = sides[resolution][number]
                index = models.add(key, stages[slot.stage][slot.index], (slot.in_width, side, side))
                layout.blocks[slot, subnet.kernels[number], subnet.expands[number], side] = index
    return layout


@same_weights()
def add_subnet(models: Models, space: SearchSpace, subnet: Subnet, head: Mapping[str, int]) -> int:
    """Adds a whole network; its index in ``models.timed``. Weights do not matter to its time."""
    family = FAMILIES[space.family]
    model = family.build(family.describe(space, subnet, **head)).eval()
    return models.add(str(subnet), model, (head["in_chans"], subnet.resolution, subnet.resolution))


def _uniform_subnets(space: SearchSpace) -> Sequence[Subnet]:
    """Full-depth subnets that between them have every kernel and expand option in every slot."""
    stages = [space.stages[slot.stage] for slot in space.slots]
    kernels, expands = (max(len(getattr(stage, name)) for stage in stages) for name in ("kernels", "expands"))
    return [
        replace(
            space.largest,
            kernels=tuple(stage.kernels[min(k, len(stage.kernels) - 1)] for stage in stages),
            expands=tuple(stage.expands[min(e, len(stage.expands) - 1)] for stage in stages),
        )
        for k, e in product(range(kernels), range(expands))
    ]
