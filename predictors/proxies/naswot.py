"""NASWOT: how differently rectifiers are switched on by different images (arXiv:2006.04647)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ofa.predictors.proxies.network import rectifiers
from ofa.predictors.proxies.proxy import NoScore


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: object) -> float:
    """log |det K|, where K counts for each pair of images the units that are on for both or off for both.

    A unit of any rectifier is on where its input is positive.
    """
    agreeing, units = torch.zeros(len(images), len(images), dtype=torch.float64), 0

    def count(_rectifier: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal units
        signs = (inputs[0] > 0).flatten(1).float() * 2 - 1
        units += signs.shape[1]
        # Of signs +-1 the product counts those that agree less those that differ.
        agreeing.add_((signs @ signs.T).double().cpu())

    for rectifier in rectifiers(model):
        rectifier.register_forward_pre_hook(count)
    with torch.no_grad():
        model(images)
    kernel = (agreeing + units) / 2
    others = kernel - torch.diag(torch.full((len(images),), torch.inf, dtype=torch.float64))
    if float(others.max()) == units:
        raise NoScore("two images switch all units alike, so the determinant is 0")
    return float(torch.linalg.slogdet(kernel).logabsdet)
