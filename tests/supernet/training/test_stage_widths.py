"""Training of a space whose widths several parts share: phases open them, sorting keeps them, every sampling runs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from shared_networks import images, scramble, subnets_of

from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import SCHEDULES, Phase, min_options, progressive_shrinking
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import _begin_phase, train_supernet


@pytest.fixture
def space(wide_family):
    return SearchSpace.preset("wide_small")


def new_net(space):
    torch.manual_seed(0)
    return Supernet(space, num_classes=3)


@torch.no_grad()
def test_activate_is_extract(space):
    net, x = scramble(new_net(space)), images(space)
    for subnet in subnets_of(space, 6):
        assert torch.equal(net.extract(subnet)(x), net.activate(subnet)(x))


def test_widths_open_last_one_option_at_a_time(space):
    phases = progressive_shrinking(space, epochs=2, lr=0.1)
    assert [phase.name for phase in phases] == ["full", "depth-2", "expand-2", "width-2", "width-3"]
    assert [phase.sort_channels for phase in phases[-2:]] == [True, True]
    genes = space.genes_of("width")
    opened = [(space.num_options - min_options(space, phase))[genes].tolist() for phase in phases]
    assert opened == [[1, 1, 1, 1]] * 3 + [[2, 2, 2, 2], [2, 3, 3, 3]], "the stem has two widths"


@torch.no_grad()
def test_sorting_keeps_what_the_open_widths_compute(space):
    net, x = scramble(new_net(space)), images(space)
    open_widths = [space.genes[gene].options[-2:] for gene in space.genes_of("width")]
    rng = np.random.default_rng(0)
    kept = [replace(space.largest, widths=tuple(map(int, map(rng.choice, open_widths)))) for _ in range(6)]
    before = [net.activate(subnet)(x) for subnet in kept]
    smallest = net.activate(space.smallest)(x)
    for phase in (Phase("a", 1, 0.1, open={"width": 2}), Phase("b", 1, 0.1, open={"width": 3}, sort_channels=True)):
        _begin_phase(SimpleNamespace(net=net, phase=phase, teacher=None))
    for subnet, expected in zip(kept, before, strict=True):
        torch.testing.assert_close(net.activate(subnet)(x), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net.activate(space.smallest)(x), smallest, rtol=1e-2)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_trains(schedule, space):
    macs = CostTable.macs(space, num_classes=3).predict

    def batches(epoch, start):
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(start, 2):
            pixels = torch.randint(0, 255, (6, 3, 16, 16), dtype=torch.uint8, generator=generator)
            yield pixels, torch.tensor([0, 1, 2, 0, 1, 2])

    net = new_net(space)
    before = {name: tensor.clone() for name, tensor in net.named_parameters()}
    phases = SCHEDULES[schedule](space, epochs=1, lr=0.05)
    options = {"settings": Settings(), "macs": macs, "normalize": lambda pixels: pixels.float() / 64 - 1}
    train_supernet(net, phases, batches, steps_per_epoch=2, progress=False, **options)
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())
    assert all(not torch.equal(tensor, before[name]) for name, tensor in net.named_parameters())
