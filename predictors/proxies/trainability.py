"""Trainability: whether gradients keep their size from block to block (AZ-NAS, arXiv:2403.19232)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.predictors.proxies.block_outputs import block_outputs, by_position
from ofa.predictors.proxies.network import noise_like
from ofa.predictors.proxies.proxy import NoScore


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: torch.Generator) -> float:
    """The mean over the blocks of 2 - s - 1 / s, where s is the spectral norm of the block's Jacobian; at most 0.

    The Jacobian ``(channels in, channels out)`` is estimated from one random gradient of signs +-1 at every position
    of the block's output, whose products with the gradient of its input are averaged over the positions.
    """
    model.requires_grad_(False)  # the gradient of features alone is needed
    scores = []
    outputs = block_outputs(model, noise_like(images, generator).requires_grad_())
    for number, (before, after) in enumerate(pairwise(outputs), start=2):
        if not after.requires_grad:
            raise NoScore(f"the output of block {number} of {len(outputs)} does not depend on the images")
        signs = torch.randint(2, after.shape, generator=generator).to(after) * 2 - 1
        (gradient,) = torch.autograd.grad(after, before, signs, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise NoScore(f"no gradient flows back through block {number} of {len(outputs)}")
        jacobian = _products(gradient, signs)
        norm = float(torch.linalg.matrix_norm(jacobian, 2))
        if not norm > 0:
            raise NoScore(f"the gradient vanishes in block {number} of {len(outputs)}")
        scores.append(2 - norm - 1 / norm)
    return sum(scores) / len(scores)


def _products(gradient: Tensor, signs: Tensor) -> Tensor:
    """The mean over images and positions of gradient x signs ``(channels in, channels out)``.

    Where the input's map is larger, one of its values stands for a window: its gradient is that of the window's sum.
    """
    if gradient.ndim == signs.ndim == 4 and gradient.shape[2:] != signs.shape[2:]:
        window = gradient[0, 0].numel() / signs[0, 0].numel()
        gradient = F.adaptive_avg_pool2d(gradient, signs.shape[2:]) * window
    gradient, signs = by_position(gradient), by_position(signs)
    if gradient.shape[1] != signs.shape[1]:
        raise ValueError("trainability is not defined here: a block changes maps into tokens; take another proxy")
    return torch.einsum("npi,npo->io", gradient, signs).double() / (signs.shape[0] * signs.shape[1])
