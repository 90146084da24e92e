"""Searches of cells in stages: deeper networks, wider operations; and methods that cells alone serve."""

import pytest
import torch
from torch.nn import functional as F

import ofa
from ofa.supernet.cells.mixed import MixedCell, SlotWeights
from ofa.supernet.cells.stages import staged
from ofa.supernet.relaxation.methods import METHODS
from ofa.supernet.relaxation.pairs import paired
from ofa.supernet.relaxation.schedules import Stage
from ofa.supernet.relaxation.search import search_architecture

SPACE = ofa.CellSpace.preset("darts", channels=4, cells=3, nodes=2, resolution=8)


def batches(epoch, start):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(start, 4):
        yield torch.randn(6, 3, 8, 8, generator=generator), torch.randint(10, (6,), generator=generator)


@pytest.mark.parametrize("name", ["pdarts", "pcdarts", "gdas", "proxylessnas"])
def test_a_search_ends_in_a_network(name):
    method = METHODS[name]
    torch.manual_seed(0)
    net = ofa.CellNetwork(SPACE, partial=4 if name == "pcdarts" else 1)
    relaxed = ofa.Relaxed(net, relaxation=method.relaxation)
    cells = []
    search_architecture(
        relaxed,
        method,
        paired(batches, batches, steps_per_epoch=4, architecture_steps=4),
        epochs=3,
        steps_per_epoch=4,
        normalize=lambda images: images,
        stage_network=staged(SPACE) if name == "pdarts" else None,
        on_epoch=lambda figures: cells.append(relaxed.space.cells),
        progress=False,
    )
    assert cells == ([1, 2, 3] if name == "pdarts" else [3, 3, 3])
    network = relaxed.derive()
    assert all(len(node) == 2 for _, cell in network.cells for node in cell)
    assert relaxed.net.extract(network)(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    if name == "pcdarts":
        assert all(
            alpha.abs().max() > 0 for alpha in relaxed.net.edge_alphas
        )  # they learn, and are not decayed weights


def test_wider_operations_keep_what_they_learnt():
    net = ofa.CellNetwork(SPACE, partial=4)
    stages = staged(SPACE)
    assert stages(net, Stage(partial=4)) is net
    wider = stages(net, Stage(partial=2))
    assert wider.partial == 2 and wider.space == SPACE and len(wider.edge_alphas) == len(net.edge_alphas)
    old, new = (each.cells[0].operations(0, 0)["sep_conv_3x3"][1].weight for each in (net, wider))
    assert old.shape[0] * 2 == new.shape[0] and torch.equal(new[: len(old)], old)
    assert torch.equal(wider.stem[0].weight, net.stem[0].weight)
    state = torch.get_rng_state()
    deeper = stages(wider, Stage(cells=2 / 3, partial=2))
    assert len(deeper.cells) == 2 and torch.equal(torch.get_rng_state(), state)


def test_a_gate_that_is_off_gets_its_gradient_from_its_output():
    torch.manual_seed(0)
    net = ofa.CellNetwork(ofa.CellSpace.preset("nasbench201", channels=4, cells=1, resolution=8))
    relaxed = ofa.Relaxed(net, relaxation="gates")
    with torch.no_grad():
        for alpha in relaxed.alphas:
            alpha[:2] -= 50.0  # of two convolutions and a pool, two are drawn
    weights = relaxed.architecture.draw(1.0)[0]
    drawn = [index for index, value in enumerate(weights.tolist()) if value > 0]
    cell = next(cell for cell in net.cells if isinstance(cell, MixedCell))
    x, upstream = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    names = net.space.facts.operations
    separate = weights.detach().clone().requires_grad_()
    out = cell._mixed(cell.operations(0, 0), 0, x, SlotWeights(separate.unbind(), tuple(weights.tolist())))
    out.backward(upstream)
    for index in drawn:
        expected = (upstream * cell.operations(0, 0)[names[index]](x)).sum()
        assert F.mse_loss(separate.grad[index], expected) < 1e-8
    assert len(drawn) == 2 and sorted(weights.tolist())[-2:][0] < 1e-20
