"""From the weights of genes' options to what a layer takes: masks over channels, weights of kernels and of outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ofa.supernet.relaxation.mixing.plan import Kernels, Width

_TINY = 1e-6  # what options have that all weigh nothing, so that the weights among them are always defined


def prefix_mask(width: Width, weights: Sequence[Tensor]) -> Tensor:
    """How much of each channel runs, ``(largest width,)``: the sum of the weights of all sizes that reach it.

    ``weights`` are those of all genes. Several genes that choose one width are independent: pairs of their options
    have the products of their weights.
    """
    joint = weights[width.columns[0]]
    for column in width.columns[1:]:
        joint = (joint[:, None] * weights[column]).flatten()
    sizes = torch.as_tensor(width.sizes.ravel(), device=joint.device)
    kept = torch.arange(int(width.sizes.max()), device=joint.device) < sizes[:, None]
    return joint @ kept.to(joint.dtype)


def among(weights: Tensor, chosen: Sequence[bool]) -> Tensor:
    """The weights of options that stay when only the ``chosen`` are possible, with the same sum; of others 0.

    Equal weights where all of them weigh nothing.
    """
    if all(chosen):
        return weights
    of_chosen = torch.as_tensor(chosen, dtype=weights.dtype, device=weights.device)
    lifted = (weights + _TINY) * of_chosen
    return lifted / lifted.sum() * weights.sum()


def kernel_weights(kernels: Kernels, weights: Tensor) -> dict[int, Tensor]:
    """The weight of each size of a kernel, given that the layer runs."""
    runs = [bool(kernel) for kernel in kernels.options]
    given = among(weights, runs)
    return {
        kernel: sum_of(given, [other == kernel for other in kernels.options])
        for kernel in dict.fromkeys(kernels.options)
        if kernel
    }


def sum_of(weights: Tensor, chosen: Sequence[bool]) -> Tensor:
    """The sum of the weights of the ``chosen`` options: a scalar."""
    return sum((weights[number] for number, one in enumerate(chosen) if one), start=weights.new_zeros(()))
