"""The classifier of a network that is new to its classes."""

from __future__ import annotations

from torch import nn


def draw_classifier(model: nn.Module) -> None:
    """Draws the weights of a timm model's classifier anew, by torch's own rule for linear layers, in place.

    Some of timm's models draw them by the number of classes alone, for a thousand of them. With ten classes their first
    logits are then around 6, and training begins at a loss of 5.
    """
    found = model.get_classifier()
    for layer in found if isinstance(found, tuple | list | nn.ModuleList) else (found,):
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
