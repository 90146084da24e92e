"""The supernet of a cell space: every operation of every connection, as plain torch modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ofa.supernet.cells.extract import chosen_columns, inherit
from ofa.supernet.cells.gathered import GatheredLinear
from ofa.supernet.cells.mixed import MixedCell
from ofa.supernet.cells.model import CellModel, check_partial
from ofa.supernet.cells.parts import Head, Residual, stem
from ofa.supernet.cells.skeleton import RESIDUAL
from ofa.supernet.cells.slot_weights import mixed_output, slot_weights
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.cells.subnet import CellSubnet
from ofa.supernet.images import tell_images


class CellNetwork(nn.Module):
    """Runs every network of ``space``, one at a time or all of them as a weighted sum.

    A new one is active as the network of the largest code. The published settings of a search are the defaults.

    Args:
        space: says also how many cells and channels there are.
        num_classes, in_chans: of the classifier and the images.
        affine: whether the batch norms of cells have scale and shift. Without them no operation makes up for a small
            weight of its own.
        partial: of so many equal parts of the channels, the first goes through the operations and the others past
            them, shuffled after each connection (PC-DARTS, https://arxiv.org/abs/1907.05737); 1: all go through.
        edge_weights: whether each connection's sum is weighted among those of its node, by the softmax of
            ``edge_alphas``; default: with partial channels, as PC-DARTS has it.

    Attributes:
        edge_alphas: one parameter ``(connections,)`` a node of each kind of cell, in the order of ``space.facts.kinds``
            and ``space.wiring.slots``; empty without ``edge_weights``. They are parameters of the architecture, not
            weights, and used by ``forward_mixed`` alone.

    Raises ``ValueError`` when ``partial`` does not divide the channels, or edges are weighted in a space whose nodes
    choose what they read.
    """

    def __init__(
        self,
        space: CellSpace,
        *,
        num_classes: int = 10,
        in_chans: int = 3,
        affine: bool = False,
        partial: int = 1,
        edge_weights: bool | None = None,
    ) -> None:
        super().__init__()
        check_partial(space, partial)
        self.space, self.num_classes, self.in_chans = space, num_classes, in_chans
        self.affine, self.partial = affine, partial
        skeleton = space.skeleton
        self.stem = stem(skeleton, in_chans=in_chans)
        self.cells = nn.ModuleList(
            Residual(place) if place.kind == RESIDUAL else MixedCell(space, place, affine=affine, partial=partial)
            for place in skeleton.places
        )
        self.head = Head(skeleton, skeleton.head_channels, num_classes=num_classes, linear=GatheredLinear)

        slots = space.wiring.slots
        has_edges = slots[0][0].choices[0].state_gene is None
        weighted = partial > 1 and has_edges if edge_weights is None else edge_weights
        if weighted and not has_edges:
            raise ValueError(f"nodes of {space.layout} choose the states that they read: there are no edges to weigh")
        nodes = [len(of_node) for _ in space.facts.kinds for of_node in slots] if weighted else []
        self.edge_alphas = nn.ParameterList(nn.Parameter(torch.zeros(edges)) for edges in nodes)
        tell_images(self, space.resolution)
        self.to(memory_format=torch.channels_last)
        self.activate(space.largest)

    @property
    def skip_drop(self) -> float:
        """The probability with which values of identities are dropped while training (P-DARTS); 0 at first."""
        return next((cell.skip_drop for cell in self._mixed_cells()), 0.0)

    @skip_drop.setter
    def skip_drop(self, probability: float) -> None:
        for cell in self._mixed_cells():
            cell.skip_drop = probability

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, num_classes)`` of images ``(batch, in_chans, height, width)`` by the active network."""
        chosen = {kind: (cell, self.space.output_nodes(cell)) for kind, cell in self.active.cells}
        return self._through(x, lambda cell, older, last: cell.run(older, last, *chosen[cell.kind]))

    def forward_mixed(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Logits with ``weights``, one vector ``(options,)`` a gene; cells of one kind share them.

        A connection gives the sum of its operations' outputs, each times its weight; where nodes choose what they read,
        times the weight of the state, too. What has the weight 0 does not run. One-hot weights give what the network of
        that code gives, unless edges are weighted or channels go past the operations.

        Raises ``ValueError`` for weights of another space.
        """
        shapes = [tuple(each.shape) for each in weights]
        if shapes != (expected := [(count,) for count in self.space.num_options.tolist()]):
            raise ValueError(f"the weights have the shapes {shapes}; the genes of this space have {expected}")
        mixed = {
            kind: (slot_weights(self.space, kind, weights, self.edge_alphas), mixed_output(self.space, kind, weights))
            for kind in self.space.facts.kinds
        }
        return self._through(x, lambda cell, older, last: cell.mix(older, last, *mixed[cell.kind]))

    def _through(self, x: Tensor, run: Callable[[MixedCell, Tensor, Tensor], Tensor]) -> Tensor:
        """The logits when ``run(cell, older, last)`` gives what a cell makes of the outputs of the two before it."""
        older = last = self.stem(x.contiguous(memory_format=torch.channels_last))
        for cell in self.cells:
            older, last = last, run(cell, older, last) if isinstance(cell, MixedCell) else cell(older, last)
        return self.head(last)

    def activate(self, network: CellSubnet) -> CellNetwork:
        """Runs as ``network`` from now on; returns itself. Raises ``ValueError`` when it is not of this space."""
        self.active = self.space.decode(self.space.encode(network))
        for layer, columns in self._columns(self.active).items():
            layer.columns = columns
        return self

    def extract(self, network: CellSubnet, *, affine: bool | None = None) -> CellModel:
        """``network`` as a plain model with its own copy of the weights, in eval mode.

        In eval mode it computes exactly what ``activate(network)`` does. Calibrate it before use. With ``affine=True``
        its batch norms have scale and shift, which start at 1 and 0; default: as in this supernet.

        Raises ``ValueError`` when the network is not of this space, or scale and shift would be lost.
        """
        if self.affine and affine is False:
            raise ValueError("the supernet's batch norms have scale and shift; they cannot be left out")
        network = self.space.decode(self.space.encode(network))
        options = {"affine": self.affine if affine is None else affine, "partial": self.partial}
        with torch.random.fork_rng(devices=[]):  # a new model's weights are drawn, and then replaced
            model = CellModel(self.space, network, num_classes=self.num_classes, in_chans=self.in_chans, **options)
        parts = {"stem": self.stem, "cells": self.cells, "head": self.head}
        inherit(model, network, **parts, columns=self._columns(network))
        tell_images(model, self.space.resolution, **(self.pretrained_cfg or {}))
        return model.to(next(self.parameters()).device).eval()

    def _columns(self, network: CellSubnet) -> dict[nn.Module, Tensor]:
        return chosen_columns(self.space, self.cells, self.head, network)

    def times_edges(self, probabilities: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The probabilities ``(options,)`` of each gene times the weight of its edge: what PC-DARTS derives from."""
        if not len(self.edge_alphas):
            return list(probabilities)
        shares = [share for alpha in self.edge_alphas for share in alpha.detach().double().softmax(0).tolist()]
        return [values * share for values, share in zip(probabilities, shares, strict=True)]

    def _mixed_cells(self) -> Iterator[MixedCell]:
        return (cell for cell in self.cells if isinstance(cell, MixedCell))
