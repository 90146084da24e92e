"""A network cut out of a cell supernet: a plain model with its own copy of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ofa.supernet.cells.gathered import GatheredConv2d, GatheredLinear, gathered
from ofa.supernet.cells.mixed import MixedCell
from ofa.supernet.cells.model import CellModel
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.cells.subnet import CellSubnet

_Columns = dict[nn.Module, Tensor]


def chosen_columns(space: CellSpace, cells: nn.ModuleList, head: nn.Module, subnet: CellSubnet) -> _Columns:
    """Which input channels each gathering layer of a supernet reads in one network.

    A layer that reads all of them is left out: what a layer reads depends on the cells before it, whose output has
    fewer channels when only loose nodes are in it.
    """
    found: _Columns = {}
    older = last = None  # of the outputs of the two places before
    for cell in cells:
        own = None
        if isinstance(cell, MixedCell):
            if cell.inputs == 2:
                found |= _of_layers(cell.read.older, older) | _of_layers(cell.read.last, last)
            if space.facts.output == "loose":
                nodes = torch.tensor(space.output_nodes(subnet.cell(cell.kind)))
                own = (nodes[:, None] * cell.channels + torch.arange(cell.channels)).flatten()
        older, last = last, own
    return found | _of_layers(head, last)


def inherit(
    model: CellModel,
    subnet: CellSubnet,
    *,
    stem: nn.Module,
    cells: nn.ModuleList,
    head: nn.Module,
    columns: Mapping[nn.Module, Tensor],
) -> None:
    """Copies the weights of the supernet's parts that the plain ``model`` of ``subnet`` uses into it."""
    pairs = [(model.stem, stem), (model.head, head)]
    for plain, cell in zip(model.cells, cells, strict=True):
        if not isinstance(cell, MixedCell):
            pairs.append((plain, cell))
            continue
        pairs.append((plain.read, cell.read))
        for node, connections in enumerate(subnet.cell(cell.kind)):
            for place, (name, state) in enumerate(connections):
                pairs.append((plain.operation(node, place), cell.operations(node, state)[name]))
    for target, source in pairs:
        _copy(target, source, columns)


def _of_layers(module: nn.Module, columns: Tensor | None) -> _Columns:
    layers = (layer for layer in module.modules() if isinstance(layer, GatheredConv2d | GatheredLinear))
    return {} if columns is None else dict.fromkeys(layers, columns)


@torch.no_grad()
def _copy(target: nn.Module, source: nn.Module, columns: Mapping[nn.Module, Tensor]) -> None:
    """The weights of ``source``; batch norms that have scale and shift in ``target`` alone keep their own."""
    state = source.state_dict()
    for name, layer in source.named_modules():
        if layer in columns:
            path = f"{name}.weight".lstrip(".")
            state[path] = gathered(state[path], columns[layer])
    target.load_state_dict({**target.state_dict(), **state})
