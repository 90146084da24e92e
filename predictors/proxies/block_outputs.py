"""What each block of a network gives, which AZ-NAS' proxies look at (arXiv:2403.19232).

As in the paper, networks read Gaussian noise: the neighbouring pixels of pictures are alike, and hide what a network
does to its input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ofa.predictors.proxies.network import blocks, noise_like
from ofa.predictors.proxies.proxy import NoScore


def block_outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The output of every block: maps ``(n, channels, height, width)`` or tokens ``(n, positions, channels)``."""
    outputs: list[Tensor] = []

    def keep(_block: nn.Module, _inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(keep) for block in blocks(model)]
    model(images)
    for handle in handles:
        handle.remove()
    return outputs


def by_position(output: Tensor) -> Tensor:
    """``(n, positions, channels)`` of a block's output. Square maps tell where their channels are."""
    if output.ndim < 4:
        return output
    channels_last = output.shape[1] == output.shape[2] != output.shape[3]
    return output.flatten(1, 2) if channels_last else output.flatten(2).transpose(1, 2)


def expressivities(model: nn.Module, images: Tensor, generator: torch.Generator) -> list[float]:
    """Of every block's output, the entropy of the shares of its principal components: how evenly it uses its channels.

    Raises ``NoScore`` when a block's output is constant.
    """
    with torch.no_grad():
        outputs = block_outputs(model, noise_like(images, generator))
    entropies = []
    for number, output in enumerate(outputs, start=1):
        rows = by_position(output).flatten(0, 1).double()
        rows = rows - rows.mean(0)
        components = torch.linalg.eigvalsh(rows.T @ rows / len(rows)).clamp_min(0)
        if not float(components.sum()) > 0:
            raise NoScore(f"the output of block {number} of {len(outputs)} is the same everywhere")
        shares = components / components.sum()
        entropies.append(float(torch.special.entr(shares).sum()))
    return entropies
