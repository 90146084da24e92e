"""MobileNetV3's elastic leaves: which weights a subnet trains, and which channels are sorted by what."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from shared_networks import images, subnets_of
from shared_spaces import by_hand_space

from ofa.supernet.elastic.depthwise import ElasticDepthwiseConv2d
from ofa.supernet.families.mobilenetv3.model import elastic_blocks
from ofa.supernet.families.mobilenetv3.space import mid_channels
from ofa.supernet.supernet import Supernet


@by_hand_space
def test_only_the_active_part_gets_gradients(space, scrambled):
    net = scrambled(space).train()
    names, used = {id(parameter): name for name, parameter in net.model.named_parameters()}, set()
    for subnet in subnets_of(space, 2, seed=1):
        net.zero_grad()
        loss = net.activate(subnet)(images(space, 4)).square().sum()
        loss.backward()
        active = {name: tensor.shape for name, tensor in net.extract(subnet).named_parameters()}
        regions = {name: tuple(slice(size) for size in shape) for name, shape in active.items()}
        matrices = set()
        kernel_of = dict(zip((block for _, block in elastic_blocks(net.model, space)), subnet.kernels, strict=True))
        for block, kernel in kernel_of.items():
            leaf, name = block.conv_dw, names[id(block.conv_dw.weight)]
            if name not in active or kernel == leaf.kernels[0]:
                continue
            # A smaller kernel is made of the centre of the largest: as far as the first matrix reaches.
            margin = (leaf.kernels[0] - leaf.kernels[1]) // 2
            centre = slice(margin, margin + leaf.kernels[1])
            regions[name] = (slice(active[name][0]), slice(1), centre, centre)
            steps = leaf.kernels[: leaf.kernels.index(kernel) + 1]
            keys = [f"{larger}to{smaller}" for larger, smaller in pairwise(steps)]
            matrices |= {names[id(leaf.transforms[key])] for key in keys}
        for name, parameter in net.model.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            inside = torch.zeros_like(parameter, dtype=torch.bool)
            if ".transforms." in name:
                inside[:] = name in matrices
            elif name in regions:
                inside[regions[name]] = True
            assert not gradient[~inside].any(), f"{name}: an inactive part has a gradient"
            assert not inside.any() or gradient[inside].any(), f"{name}: the active part has no gradient"
        used |= matrices
    assert used


def importances(net):
    """L1 norms that channels are sorted by, per block: of middle channels and, with squeeze-excite, squeezed ones."""
    for slot, block in elastic_blocks(net.model, net.space):
        yield slot, block.conv_pwl.weight.detach().abs().sum((0, 2, 3)), 1.0
        if net.space.stages[slot.stage].se:
            yield slot, block.se.conv_expand.weight.detach().abs().sum((0, 2, 3)), 0.25


@by_hand_space
@pytest.mark.parametrize("opened", [1, 2, 3])
@torch.no_grad()
def test_sorting_channels_keeps_what_has_been_trained(space, opened, scrambled):
    net, x = scrambled(space), images(space)
    expands = [space.stages[slot.stage].expands[-opened:] for slot in space.blocks]
    rng = np.random.default_rng(2)
    subnets = [space.largest] + [
        replace(subnet, expands=tuple(options[rng.integers(len(options))] for options in expands))
        for subnet in subnets_of(space, 3, seed=2)
    ]
    before = [net.activate(subnet)(x) for subnet in subnets]
    old = net.activate(space.smallest)(x)
    prefixes = [values.clone() for _, values, _ in importances(net)]
    net.sort_channels(num_open={"expand": opened})
    for subnet, expected in zip(subnets, before, strict=True):
        difference = (net.activate(subnet)(x) - expected).abs().max() / expected.abs().max()
        assert difference < 1e-5, f"{subnet}: {difference:.1e}"

    for (slot, values, ratio), unsorted in zip(importances(net), prefixes, strict=True):
        widths = [mid_channels(slot.in_channels, expand) for expand in space.stages[slot.stage].expands]
        bounds = [0, *(width if ratio == 1 else mid_channels(width, ratio) for width in widths[-opened:])]
        for start, stop in pairwise(bounds):
            expected = unsorted[start:stop].sort(descending=True).values
            torch.testing.assert_close(values[start:stop], expected)
    if any(len(stage.expands) > opened for stage in space.stages):
        assert not torch.allclose(net.activate(space.smallest)(x), old), "nothing moved"


@by_hand_space
def test_no_weight_decay_names_the_kernel_transforms(space):
    net = Supernet(space, num_classes=2)
    transforms = {
        f"{name}.transforms.{key}"
        for name, module in net.named_modules()
        if isinstance(module, ElasticDepthwiseConv2d)
        for key in module.transforms
    }
    assert net.no_weight_decay() == transforms <= set(dict(net.named_parameters())) and transforms


@by_hand_space
def test_a_new_network_knows_nothing_of_its_ten_classes(space):
    """Its first loss is that of a guess: timm draws the classifier as if there were a thousand of them."""
    torch.manual_seed(0)
    net = Supernet(space, num_classes=10).train()
    labels = torch.arange(16) % 10
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(net(images(space, 16)), labels)
    assert float(loss) == pytest.approx(np.log(10), abs=0.3)
