"""How much memory a training step takes at least, told before training: a machine that runs out of it just kills."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from ofa.config.recipe import Recipe
from ofa.errors import UserError
from ofa.predictors.costs.table import CostTable
from ofa.supernet.space import SearchSpace, mid_width

_BYTES = 4  # of a float32
_COPIES = 3  # weights, gradients, momentum


def image_bytes(space: SearchSpace, resolution: int) -> int:
    """What of one image the largest network keeps for the backward pass: each convolution's output, once."""
    sizes = space.sizes(resolution)
    values = (space.stem.width + 2 * space.stem.first_width) * sizes[0] ** 2 + space.head.width * sizes[-1] ** 2
    for number, slot in enumerate(space.slots):
        stage = space.stages[slot.stage]
        mid = mid_width(slot.in_width, stage.expands[-1])
        written = -(-sizes[number] // (stage.stride if slot.index == 0 else 1))
        values += mid * (sizes[number] ** 2 + written**2) + stage.width * written**2
    return _BYTES * values


def check_memory(recipe: Recipe, head: Mapping[str, int], *, images: int) -> None:
    """Raises ``UserError`` when a step on this machine's processor surely does not fit in its memory.

    ``images``: of the training split, of which a batch cannot have more.
    """
    if torch.cuda.is_available():
        return
    space = recipe.space
    at_a_time = -(-min(recipe.train.batch_size, images) // recipe.train.grad_accum_steps)
    weights = float(CostTable.params(space, **head).predict(space.encode(space.largest)[None])[0])
    needed = at_a_time * image_bytes(space, space.resolutions[-1]) + _COPIES * _BYTES * weights
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        what = f"{at_a_time} images at a time of {space.resolutions[-1]} pixels"
        raise UserError(
            f"train.batch_size: {what} need {needed / 2**30:.3g} GiB, and this machine has {there / 2**30:.3g}; lower "
            "batch_size, raise grad_accum_steps, or narrow the space"
        )
