"""How much memory a training step takes at least, told before training: a machine that runs out of it just kills."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import torch

from ofa.config.recipe import Recipe
from ofa.errors import UserError
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.integers import ceil_div
from ofa.supernet.space import SearchSpace

_BYTES = 4  # of a float32
_COPIES = 3  # weights, gradients, momentum
_KEPT = ("conv", "depthwise", "linear", "matmul", "layer_norm")  # what else than a batch norm's input is kept


def image_bytes(space: SearchSpace, resolution: int) -> int:
    """What of one image the largest network keeps for the backward pass: each layer's output, once.

    Outputs of one position are left out.
    """
    subnet = replace(space.largest, resolution=resolution)
    parts = parts_of_subnet(space, subnet, num_classes=1, in_chans=1)  # neither is in what follows
    return _BYTES * sum(
        written.size
        for part, side in parts
        for operator, written in zip(part, part.shapes(side)[1:], strict=True)
        if operator.norm or (operator.kind in _KEPT and written.positions > 1)
    )


def check_memory(recipe: Recipe, model_kwargs: Mapping[str, int], *, images: int) -> None:
    """Raises ``UserError`` when a step on this machine's processor surely does not fit in its memory.

    ``images``: of the training split, of which a batch cannot have more.
    """
    if torch.cuda.is_available():
        return
    space = recipe.space
    at_a_time = ceil_div(min(recipe.train.batch_size, images), recipe.train.grad_accum_steps)
    weights = float(CostTable.params(space, **model_kwargs).predict(space.encode(space.largest)[None])[0])
    needed = at_a_time * image_bytes(space, space.resolutions[-1]) + _COPIES * _BYTES * weights
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        what = f"{at_a_time} images at a time of {space.resolutions[-1]} pixels"
        raise UserError(
            f"train.batch_size: {what} need {needed / 2**30:.3g} GiB, and this machine has {there / 2**30:.3g}; lower "
            "batch_size, raise grad_accum_steps, or narrow the space"
        )
