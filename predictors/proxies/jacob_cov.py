"""Jacobian covariance: how differently a network reacts to different images (arXiv:2006.04647, version 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ofa.predictors.proxies.proxy import NoScore

_OFFSET = 1e-5


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: object) -> float:
    """-sum(log(e + k) + 1 / (e + k)) over the eigenvalues e of the correlations of the images' input gradients.

    It is highest when all gradients of the summed logits are uncorrelated: then every eigenvalue is 1.
    """
    images = images.clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(model(images).sum(), images, allow_unused=True, materialize_grads=True)
    rows = jacobian.flatten(1).double()
    if not bool(torch.isfinite(rows).all()) or bool((rows.std(1) == 0).any()):
        raise NoScore("some image has no gradient, or none that is finite: it does not reach the logits")
    shifted = torch.linalg.eigvalsh(torch.corrcoef(rows)).clamp_min(0) + _OFFSET
    return -float((shifted.log() + 1 / shifted).sum())
