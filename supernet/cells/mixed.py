"""A cell that holds every operation of every connection, and runs a weighted sum of them, or one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.cells.gathered import GatheredConv2d
from ofa.supernet.cells.operations import OPERATIONS, Setting
from ofa.supernet.cells.parts import CellInputs, past_and_shuffled, zeros_for
from ofa.supernet.cells.skeleton import Place
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.cells.subnet import NONE, Cell


class SlotWeights(NamedTuple):
    """What a slot's operations are multiplied with.

    Attributes:
        weights: of each operation, a scalar tensor.
        values: the same as numbers, which say what need not run.
        scale: of their sum; None: 1.
    """

    weights: tuple[Tensor, ...]
    values: tuple[float, ...]
    scale: Tensor | None = None


class MixedCell(nn.Module):
    """Every operation of every slot of ``space.wiring``.

    ``skip_drop`` is the probability with which a value of an identity is dropped while training (P-DARTS).
    """

    def __init__(self, space: CellSpace, place: Place, *, affine: bool, partial: int) -> None:
        super().__init__()
        self.kind, self.channels, self.stride, self.partial = place.kind, place.channels, place.stride, partial
        self.slots = space.wiring.slots
        self.operation_names, self.inputs, self.skip_drop = space.facts.operations, space.facts.inputs, 0.0
        self.read = CellInputs(
            place,
            inputs=self.inputs,
            last_channels=place.last_channels,
            older_channels=place.older_channels,
            affine=affine,
            conv=GatheredConv2d,
        )
        self.nodes = nn.ModuleList(nn.ModuleDict() for _ in self.slots)
        for node, slots in zip(self.nodes, self.slots, strict=True):
            for slot in slots:
                setting = Setting(place.channels // partial, self._stride(slot.state), affine, space.facts.norm_pools)
                built = {name: OPERATIONS[name](setting) for name in self.operation_names if name != NONE}
                node[f"from_{slot.state}"] = nn.ModuleDict(built)

    def mix(
        self,
        older: Tensor,
        last: Tensor,
        weights: Sequence[Sequence[SlotWeights]],
        output: Sequence[tuple[int, Tensor | None]],
    ) -> Tensor:
        """Every node as the weighted sum of all of its slots; ``weights`` of each node's slots.

        ``output`` has the nodes that are in the output, and what their maps are multiplied with there; None: 1.
        """
        states = self.read(older, last)
        for node, of_slots in enumerate(weights):
            total: Tensor | None = None
            for state, slot_weights in enumerate(of_slots):
                out = self._mixed(self.operations(node, state), state, states[state], slot_weights)
                if out is not None:
                    total = out if total is None else total + out
            states.append(self._as_state(total, states[0]))
        maps = [(states[self.inputs + node], factor) for node, factor in output]
        return _joined([state if factor is None else state * factor for state, factor in maps])

    def run(self, older: Tensor, last: Tensor, cell: Cell, output: Sequence[int]) -> Tensor:
        """One cell, of which the nodes ``output`` are concatenated."""
        states = self.read(older, last)
        for node, connections in enumerate(cell):
            total: Tensor | None = None
            for name, state in connections:
                x = states[state]
                out = self._on_part(x, state, self._applied(self.operations(node, state)[name], x))
                total = out if total is None else total + out
            states.append(self._as_state(total, states[0]))
        return _joined([states[self.inputs + node] for node in output])

    def operations(self, node: int, state: int) -> nn.ModuleDict:
        """The modules of all operations from a state to a node."""
        return self.nodes[node][f"from_{state}"]

    def _stride(self, state: int) -> int:
        return self.stride if state < self.inputs else 1  # only what reads the cell's inputs halves the map

    def _mixed(self, operations: nn.ModuleDict, state: int, x: Tensor, of_slot: SlotWeights) -> Tensor | None:
        """The weighted sum of the operations from one state; None where nothing of it counts.

        An operation whose weight is 0 does not run. Where its weight has a gradient, as of a straight-through sample,
        the weight itself is added, which is 0: GDAS gives it the gradient so (https://arxiv.org/abs/1910.04465).
        """
        total: Tensor | None = None
        unused: Tensor | None = None
        for name, weight, value in zip(self.operation_names, of_slot.weights, of_slot.values, strict=True):
            if value == 0:
                if weight.requires_grad:
                    unused = weight if unused is None else unused + weight
            elif name != NONE:
                out = weight * self._applied(operations[name], x)
                total = out if total is None else total + out
        if total is None and (unused is not None or self.partial > 1):
            total = zeros_for(self._part(x), self._stride(state))
        if total is None:
            return None
        total = self._on_part(x, state, total if unused is None else total + unused)
        return total if of_slot.scale is None else total * of_slot.scale

    def _part(self, x: Tensor) -> Tensor:
        return x if self.partial == 1 else x[:, : x.shape[1] // self.partial]

    def _applied(self, operation: nn.Module, x: Tensor) -> Tensor:
        """An operation on the part of the channels that goes through it."""
        out = operation(self._part(x))
        if isinstance(operation, nn.Identity) and self.skip_drop and self.training:
            out = F.dropout(out, self.skip_drop)
        return out

    def _on_part(self, x: Tensor, state: int, out: Tensor) -> Tensor:
        """``out`` with the channels that went past the operations."""
        return out if self.partial == 1 else past_and_shuffled(x, out, self.partial, self._stride(state))

    def _as_state(self, total: Tensor | None, state: Tensor) -> Tensor:
        return zeros_for(state, self.stride) if total is None else total


def _joined(maps: Sequence[Tensor]) -> Tensor:
    return maps[0] if len(maps) == 1 else torch.cat(list(maps), dim=1)
