"""One network of a cell space as a plain torch module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ofa.supernet.cells.operations import OPERATIONS, Setting
from ofa.supernet.cells.parts import CellInputs, Head, PartialChannels, Residual, stem, zeros_for
from ofa.supernet.cells.skeleton import RESIDUAL, Place
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.cells.subnet import Cell, CellSubnet
from ofa.supernet.images import tell_images


class CellModel(nn.Module):
    """The network ``subnet`` of ``space``, with new weights. Connections that are ``none`` are not in it.

    Args:
        space: says also how many cells and channels; see ``CellSpace.resized`` for another size.
        subnet: of the space.
        num_classes, in_chans: of the classifier and the images.
        affine: whether the batch norms of cells have scale and shift.
        partial: of so many equal parts of the channels, the first goes through the operations and the others past
            them; 1: all go through.

    ``description`` holds all of this as JSON values; ``CellModel.from_dict(description)`` builds it again.

    Raises ``ValueError`` when the network is not of the space, or ``partial`` does not divide its channels.
    """

    def __init__(
        self,
        space: CellSpace,
        subnet: CellSubnet,
        *,
        num_classes: int = 10,
        in_chans: int = 3,
        affine: bool = True,
        partial: int = 1,
    ) -> None:
        super().__init__()
        subnet = space.decode(space.encode(subnet))
        check_partial(space, partial)
        self.num_classes, self.in_chans = num_classes, in_chans
        self.description = {
            "space": space.to_dict(),
            "subnet": subnet.to_dict(),
            "num_classes": num_classes,
            "in_chans": in_chans,
            "affine": affine,
            "partial": partial,
        }
        skeleton = space.skeleton
        self.stem = stem(skeleton, in_chans=in_chans)
        self.cells = nn.ModuleList()
        older = last = skeleton.stem_channels
        for place in skeleton.places:
            if place.kind == RESIDUAL:
                block, channels = Residual(place), place.channels
            else:
                cell = subnet.cell(place.kind)
                read = {"last_channels": last, "older_channels": older}
                block = PlainCell(space, place, cell, affine=affine, partial=partial, **read)
                channels = place.channels * len(block.output)
            self.cells.append(block)
            older, last = last, channels
        self.head = Head(skeleton, last, num_classes=num_classes)
        tell_images(self, space.resolution)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, num_classes)`` of images ``(batch, in_chans, height, width)``."""
        older = last = self.stem(x.contiguous(memory_format=torch.channels_last))
        for cell in self.cells:
            older, last = last, cell(older, last)
        return self.head(last)

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> CellModel:
        """A model with new weights. Raises ``ValueError`` that names what is missing or wrong."""
        values = dict(description)
        try:
            space, subnet = CellSpace.from_dict(values.pop("space")), CellSubnet.from_dict(values.pop("subnet"))
            return cls(space, subnet, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this describes no cell network: {error}") from error


class PlainCell(nn.Module):
    """A cell of chosen connections: each node adds them up, and the output nodes are concatenated."""

    def __init__(
        self,
        space: CellSpace,
        place: Place,
        cell: Cell,
        *,
        last_channels: int,
        older_channels: int,
        affine: bool,
        partial: int,
    ) -> None:
        super().__init__()
        inputs = space.facts.inputs
        self.read = CellInputs(
            place, inputs=inputs, last_channels=last_channels, older_channels=older_channels, affine=affine
        )
        self.states = tuple(tuple(state for _, state in node) for node in cell)
        self.output, self.stride = space.output_nodes(cell), place.stride
        self.nodes = nn.ModuleList(nn.ModuleList() for _ in cell)
        for node, connections in zip(self.nodes, cell, strict=True):
            for operation, state in connections:
                # Only what reads the cell's inputs halves the map.
                stride = place.stride if state < inputs else 1
                setting = Setting(place.channels // partial, stride, affine, space.facts.norm_pools)
                built = OPERATIONS[operation](setting)
                node.append(built if partial == 1 else PartialChannels(built, parts=partial, stride=stride))

    def operation(self, node: int, place: int) -> nn.Module:
        """The module of one connection: number ``place`` of its node."""
        found = self.nodes[node][place]
        return found.operation if isinstance(found, PartialChannels) else found

    def forward(self, older: Tensor, last: Tensor) -> Tensor:
        states = self.read(older, last)
        inputs = len(states)
        for operations, read in zip(self.nodes, self.states, strict=True):
            total: Tensor | None = None
            for operation, state in zip(operations, read, strict=True):
                out = operation(states[state])
                total = out if total is None else total + out
            states.append(zeros_for(states[0], self.stride) if total is None else total)
        chosen = [states[inputs + node] for node in self.output]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1)


def check_partial(space: CellSpace, partial: int) -> None:
    """Raises ``ValueError`` unless channels divide into ``partial`` parts."""
    if partial < 1 or space.channels % partial:
        raise ValueError(f"partial is {partial}; it must divide the {space.channels} channels of the first cells")
