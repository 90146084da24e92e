"""Smaller kernels out of larger ones: the kernel transformation of "Once-for-All", section 3
(https://arxiv.org/abs/1908.09791).

A smaller kernel is the centre of the next larger one, multiplied by a trained matrix: one a step, shared by all
channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def add_transforms(conv: nn.Conv2d, kernels: Sequence[int]) -> None:
    """Gives ``conv`` its ``kernels`` (ascending; it keeps them descending) and the matrices between them."""
    conv.active_kernel = kernels[-1]
    conv.kernels = tuple(kernels[::-1])
    like = {"dtype": conv.weight.dtype, "device": conv.weight.device}
    conv.transforms = nn.ParameterDict(
        {
            f"{larger}to{smaller}": nn.Parameter(torch.eye(smaller**2, **like))
            for larger, smaller in pairwise(conv.kernels)
        }
    )


def smaller_kernel(weight: Tensor, kernel: int, *, kernels: Sequence[int], transforms: nn.ParameterDict) -> Tensor:
    """The weight ``(out, in, kernel, kernel)`` of one with the largest of the ``kernels``, which are descending."""
    for larger, smaller in pairwise(kernels):
        if smaller < kernel:
            break
        matrix = transforms[f"{larger}to{smaller}"]
        margin = (larger - smaller) // 2
        centre = weight[:, :, margin : margin + smaller, margin : margin + smaller]
        weight = F.linear(centre.reshape(-1, smaller**2), matrix).view(*weight.shape[:2], smaller, smaller)
    return weight
