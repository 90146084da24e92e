"""Depthwise convolutions that a subnet may be without: MobileNetV4's universal inverted bottleneck."""

import numpy as np
import pytest
import torch
from counted_costs import counted_costs
from shared_networks import images, scramble
from torch import nn

from ofa.supernet.extract import build_empty
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.operators import macs, params
from ofa.supernet.saving import load_subnet, save_subnet
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

NAME = "mobilenetv4_conv_small_050"


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return scramble(Supernet.from_timm(NAME, num_classes=10, elastic={"kernels": [0, 3, 5], "resolutions": [32]}))


def places(model):
    """The depthwise layers of the blocks that have two places for them."""
    found = {path: module for path, module in model.named_modules() if path.endswith((".dw_start", ".dw_mid"))}
    return {path: not isinstance(module, nn.Identity) for path, module in found.items()}


def test_auto_leaves_none_out():
    kernels = [
        options
        for stage in SearchSpace.from_timm(NAME).stages
        for block in stage.blocks
        for options in block.kernels.values()
    ]
    assert kernels and all(0 not in options for options in kernels)


def test_only_layers_that_keep_their_shape(net):
    model = net.extract(net.space.largest)
    for path, options in net.space.kernel_options.items():
        conv = model.get_submodule(path)
        assert (0 in options) == (conv.stride == (1, 1)), path


def test_each_place_has_a_gene_with_a_name(net):
    keys = {gene.key for gene in net.space.genes if gene.role == "kernel"}
    assert {"kernel_dw_start", "kernel_dw_mid"} <= keys
    assert not any(key.endswith(".conv") for key in keys)


def test_the_smallest_subnet_lacks_what_may_be_left_out(net, tmp_path):
    whole, small = (places(net.extract(subnet)) for subnet in (net.space.largest, net.space.smallest))
    lost = [path for path, there in small.items() if whole[path] and not there]
    assert lost and {f"{path}.conv" for path in lost} <= set(net.space.kernel_options)


@torch.no_grad()
def test_activated_extracted_and_loaded_are_equal(net, tmp_path):
    x = images(net.space).contiguous(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)
    for subnet in (net.space.smallest, *map(net.space.decode, net.space.sample(4, rng)), net.space.largest):
        assert net.space.decode(net.space.encode(subnet)) == subnet
        logits, plain = net.activate(subnet)(x), net.extract(subnet)
        assert torch.equal(plain(x), logits)
        save_subnet(plain, subnet, tmp_path)
        assert torch.equal(load_subnet(tmp_path)(x), logits)


def test_costs_are_exact(net):
    space = net.space
    for subnet in (space.smallest, *map(space.decode, space.sample(4, np.random.default_rng(1)))):
        parts = parts_of_subnet(space, subnet, num_classes=10, in_chans=3)
        costs = sum(int(macs(part, side)) for part, side in parts), sum(params(part) for part, _ in parts)
        assert costs == counted_costs(build_empty(net.describe(subnet)).eval(), subnet.resolution)


@torch.no_grad()
def test_sorting_keeps_the_largest(net):
    x = images(net.space)
    expected = net.activate(net.space.largest)(x)
    net.sort_channels()
    torch.testing.assert_close(net(x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_a_model_without_such_layers_says_so():
    with pytest.raises(ValueError, match="none of this model's can be"):
        SearchSpace.from_timm("lcnet_035", kernels=[0, 3])
