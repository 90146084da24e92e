"""What of a space must be timed: each distinct stem, block and head once, and how they add up to its networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from ofa.supernet import families
from ofa.supernet.space import SearchSpace, Slot, Subnet

MAX_RESOLUTIONS = 5  # measured; those between are interpolated

Shape = tuple[int, int, int]
MakePart = Callable[[nn.Module, Shape], Any]


@dataclass
class Parts:
    """The distinct things to time: what ``make`` made of each, and the shape of what it reads."""

    make: MakePart
    models: list[tuple[Any, Shape]] = field(default_factory=list)
    _numbers: dict[tuple[str, Shape], int] = field(default_factory=dict)

    def add(self, key: str, module: nn.Module, shape: Shape) -> int:
        """The number of this part; ``make`` is called for new ones."""
        number = self._numbers.setdefault((key, shape), len(self.models))
        if number == len(self.models):
            self.models.append((self.make(module, shape), shape))
        return number


@dataclass(frozen=True)
class Layout:
    """Numbers of the parts: stem and head of each resolution, and the block of each slot, options and map size."""

    ends: list[tuple[int, int]]
    blocks: dict[tuple[Slot, int, float, int], int]


def add_parts(parts: Parts, space: SearchSpace, *, num_classes: int, in_chans: int, progress: bool) -> Layout:
    """Adds stems, heads and blocks of ``space`` at all of its resolutions."""
    family = families.model(space.family)
    blocks: dict[tuple[Slot, int, float, int], int] = {}
    sizes = {resolution: space.sizes(resolution) for resolution in space.resolutions}
    ends: list[tuple[int, int]] = []
    for subnet in tqdm(_uniform_subnets(space), desc="write blocks", disable=None if progress else True):
        description = family.describe(space, subnet, num_classes=num_classes, in_chans=in_chans)
        stem, stages, head = family.parts(family.build(description).eval())
        if not ends:
            for side in space.resolutions:
                last = sizes[side][-1]
                first = parts.add("stem", stem, (in_chans, side, side))
                ends.append((first, parts.add("head", head, (space.stages[-1].width, last, last))))
        for number, slot in enumerate(space.slots):
            key = f"{slot.in_width} {description['blocks'][1 + slot.stage][slot.index]}"
            for side in space.resolutions:
                size = sizes[side][number]
                block = parts.add(key, stages[slot.stage][slot.index], (slot.in_width, size, size))
                blocks[slot, subnet.kernels[number], subnet.expands[number], size] = block
    return Layout(ends, blocks)


def measured_resolutions(space: SearchSpace) -> tuple[int, ...]:
    """Up to five of the space's resolutions, smallest and largest among them."""
    count = len(space.resolutions)
    if count <= MAX_RESOLUTIONS:
        return space.resolutions
    return tuple(space.resolutions[round(i)] for i in np.linspace(0, count - 1, MAX_RESOLUTIONS))


def _uniform_subnets(space: SearchSpace) -> list[Subnet]:
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
