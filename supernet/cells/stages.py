"""The networks of a search in stages: deeper ones (P-DARTS), or more channels through the operations (DrNAS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ofa.supernet.cells.network import CellNetwork
from ofa.supernet.cells.space import CellSpace


class Stage(Protocol):
    """What a stage says of its network: the share of the last stage's cells that it has, and in how many parts the
    channels are, of which one goes through the operations."""

    cells: float
    partial: int


def staged(space: CellSpace, *, seed: int = 0, **options: Any) -> Callable[[CellNetwork, Stage], CellNetwork]:
    """A function ``(network, stage)`` that gives the stage's network: the same one where it fits the stage.

    A network of another depth has new weights, drawn from ``seed``, as P-DARTS has it. One of as many cells but another
    number of parts keeps the weights of the old one where both have some, so that operations become wider (DrNAS).

    Args:
        space: of the last stage.
        options: of ``CellNetwork``, for those that are new; default: those of the old one.
    """

    def network_of(net: CellNetwork, stage: Stage) -> CellNetwork:
        cells = max(1, round(stage.cells * space.cells))
        if (net.space.cells, net.partial) == (cells, stage.partial):
            return net
        old = {
            "num_classes": net.num_classes,
            "in_chans": net.in_chans,
            "affine": net.affine,
            "edge_weights": bool(len(net.edge_alphas)),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            new = CellNetwork(space.resized(cells=cells), partial=stage.partial, **{**old, **options})
        if net.space.cells == cells:
            keep_weights(new, net)
        return new.to(next(net.parameters()).device).train(net.training)

    return network_of


@torch.no_grad()
def keep_weights(new: CellNetwork, old: CellNetwork) -> None:
    """Copies the weights of ``old`` into the first channels of those of ``new``, which is as wide or wider."""
    source = old.state_dict()
    for name, tensor in new.state_dict().items():
        if name in source:
            _first(tensor, source[name])


def _first(tensor: Tensor, values: Tensor) -> None:
    shared = tuple(slice(min(own, other)) for own, other in zip(tensor.shape, values.shape, strict=True))
    tensor[shared] = values[shared]
