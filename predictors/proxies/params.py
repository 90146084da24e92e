"""Parameters: the baseline that every proxy should beat."""

from __future__ import annotations

from torch import Tensor, nn


def compute(model: nn.Module, images: Tensor, labels: Tensor | None, generator: object) -> float:
    """The number of trainable parameters."""
    return float(sum(parameter.numel() for parameter in model.parameters()))
