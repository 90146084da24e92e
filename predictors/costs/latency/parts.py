"""What of a space must be timed: each distinct stem, block and head once, and how they add up to its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ofa.predictors.costs.latency.timer import Shape, TimedModel
from ofa.predictors.costs.latency.widths import timed_options
from ofa.predictors.costs.part_genes import distinct
from ofa.supernet import families
from ofa.supernet.space import SearchSpace, Subnet

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
    """Where the parts of a space are in ``Models.timed``.

    ``of_part`` has stem, head and each block: for the timed options of the genes that the part depends on, in their
    order, the index of its model at each resolution.
    """

    of_part: tuple[dict[tuple[int, ...], list[int]], ...]

    def costs(self, space: SearchSpace, times: np.ndarray) -> list[np.ndarray]:
        """The ``times`` ``(models,)`` of stem, head and each block: ``(resolutions, timed options of its first gene,
        ...)``."""
        timed = timed_options(space)
        costs = []
        for columns, models in zip(_columns(space), self.of_part, strict=True):
            options = [timed[column] for column in columns]
            by_option = times[[models[choice] for choice in product(*options)]]
            costs.append(np.moveaxis(by_option.reshape(*map(len, options), -1), -1, 0))
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
    stems, heads, *blocks = layout = tuple({} for _ in _columns(space))
    tokens = _tokens_read(space, head)
    for code in tqdm(covering_codes(space), desc="write blocks", disable=None if progress else True):
        subnet = space.decode(code)
        model = family.build(family.describe(space, subnet, **head)).eval()
        stem, stages, classifier = family.parts(model)
        chosen_stem, chosen_head, *chosen = [tuple(code[list(columns)].tolist()) for columns in _columns(space)]
        shapes = space.shapes(subnet)
        sides = [space.sizes_of(replace(subnet, resolution=resolution)) for resolution in space.resolutions]
        # Each stem and each head is timed once, in all subnets that have it.
        new_stem, new_head = chosen_stem not in stems, chosen_head not in heads
        for resolution, row in zip(space.resolutions, sides, strict=True):
            if new_stem:
                index = models.add(f"stem {chosen_stem}", stem, (head["in_chans"], resolution, resolution))
                stems.setdefault(chosen_stem, []).append(index)
            if new_head:
                shape = _input_shape(shapes[-1].out_channels, row[-1], tokens[-1])
                heads.setdefault(chosen_head, []).append(models.add(f"head {chosen_head}", classifier, shape))
        # Blocks that read the same as an equal one before are timed once.
        for number, (block, shape) in enumerate(zip(space.blocks, shapes, strict=True)):
            module = stages[block.stage][block.index]
            key = f"{module!r} {_heads_of(module)}"
            blocks[number][chosen[number]] = [
                models.add(key, module, _input_shape(shape.in_channels, row[number], tokens[number])) for row in sides
            ]
    return Layout(layout)


@same_weights()
def add_subnet(models: Models, space: SearchSpace, subnet: Subnet, head: Mapping[str, int]) -> int:
    """Adds a whole network; its index in ``models.timed``. Weights do not matter to its time."""
    family = families.model(space.family)
    model = family.build(family.describe(space, subnet, **head)).eval()
    return models.add(str(subnet), model, (head["in_chans"], subnet.resolution, subnet.resolution))


def covering_codes(space: SearchSpace) -> np.ndarray:
    """Codes of full-depth subnets ``(n, genes)`` that between them have every timed choice of every part.

    Greedy: each subnet gives every part, those with most choices left first, its next choice that fits what the parts
    before it have chosen. Genes that no part needs any more take their largest option. Without shared genes that is as
    few subnets as the part with most choices has.
    """
    timed, full = timed_options(space), space.encode(space.largest)
    parts = dict.fromkeys(_columns(space))
    # The choices that no subnet has yet, in their order.
    left = {columns: list(product(*(timed[column] for column in columns))) for columns in parts}
    codes = []
    while any(left.values()):
        fixed: dict[int, int] = {}
        for columns in sorted(left, key=lambda columns: -len(left[columns])):
            choices = (dict(zip(columns, choice, strict=True)) for choice in left[columns])
            fixed |= next((one for one in choices if all(fixed.get(key, one[key]) == one[key] for key in one)), {})
        code = full.copy()
        code[list(fixed)] = list(fixed.values())
        for columns, choices in left.items():
            if (chosen := tuple(code[list(columns)].tolist())) in choices:
                choices.remove(chosen)
        codes.append(code)
    return np.array(codes)


def _columns(space: SearchSpace) -> list[tuple[int, ...]]:
    """The genes of stem, head and each block, resolution left out."""
    columns = space.part_columns
    return [distinct(of_part) for of_part in (columns.stem, columns.head, *columns.blocks)]


@same_weights()
@torch.no_grad()
def _tokens_read(space: SearchSpace, head: Mapping[str, int]) -> list[int | None]:
    """Of each block, and last of the head: None where it reads a map; where it reads a sequence, the positions of that
    beside the map's."""
    family, resolution = families.model(space.family), space.resolutions[0]
    model = family.build(family.describe(space, space.largest, **head), device="meta").eval()
    stem, stages, classifier = family.parts(model)
    read = stem(torch.empty(1, head["in_chans"], resolution, resolution, device="meta"))
    tokens = []
    for side, part in zip(space.sizes(resolution), [*chain.from_iterable(stages), classifier], strict=True):
        tokens.append(None if read.ndim == 4 else read.shape[1] - side * side)
        read = part(read)
    return tokens


def _input_shape(channels: int, side: int, tokens: int | None) -> Shape:
    return (channels, side, side) if tokens is None else (side * side + tokens, channels)


def _heads_of(module: nn.Module) -> list[int]:
    """The heads of its attentions, which modules do not print."""
    return [inner.num_heads for inner in module.modules() if hasattr(inner, "num_heads")]
