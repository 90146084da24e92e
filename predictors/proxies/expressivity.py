"""Expressivity: how evenly the blocks of a network use their channels (AZ-NAS, arXiv:2403.19232)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ofa.predictors.proxies.block_outputs import expressivities


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: torch.Generator) -> float:
    """The sum over the blocks of the entropy of their principal components."""
    return sum(expressivities(model, images, generator))
