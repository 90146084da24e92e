"""Progressivity: whether every block adds to what the features can express (AZ-NAS, arXiv:2403.19232)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ofa.predictors.proxies.block_outputs import expressivities


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: torch.Generator) -> float:
    """The smallest gain in expressivity from a block to the next one."""
    return float(np.diff(expressivities(model, images, generator)).min())
