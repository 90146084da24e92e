"""AutoFormer's published space."""

import pytest
import torch
from counted_costs import counted_costs
from shared_networks import scramble, subnets_of

from ofa.supernet.extract import build_empty
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.families.vit.model import describe
from ofa.supernet.operators import macs, params
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet


@pytest.fixture(scope="module")
def space():
    return SearchSpace.preset("autoformer_tiny")


def test_its_size_and_parameters_are_the_published_ones(space):
    assert space.size == 3 * (4**12 + 4**13 + 4**14)
    counted = {}
    for subnet in subnets_of(space, 3):
        parts = parts_of_subnet(space, subnet, num_classes=1000, in_chans=3)
        costs = sum(int(macs(part, side)) for part, side in parts), sum(params(part) for part, _ in parts)
        model = build_empty(describe(space, subnet, num_classes=1000, in_chans=3))
        assert costs == counted_costs(model.eval(), 224)
        counted[subnet] = costs[1]
    assert (counted[space.smallest], counted[space.largest]) == (by_hand(192, 3, 3.5, 12), by_hand(240, 4, 4, 14))


def by_hand(width, heads, ratio, depth):
    """Parameters of a vision transformer with ``heads`` of 64 channels."""
    inner, middle = 64 * heads, int(width * ratio)
    attention = (width + 1) * 3 * inner + (inner + 1) * width
    mlp = (width + 1) * middle + (middle + 1) * width
    embedding = (3 * 16 * 16 + 1) * width + width + 197 * width
    return embedding + depth * (attention + mlp + 4 * width) + 2 * width + (width + 1) * 1000


@torch.no_grad()
def test_its_subnets_are_plain_models(space):
    torch.manual_seed(0)
    net, images = scramble(Supernet(space, num_classes=3)), torch.randn(1, 3, 224, 224)
    for subnet in subnets_of(space, 1):
        plain = net.extract(subnet)
        assert torch.equal(plain(images), net.activate(subnet)(images))
        assert plain.blocks[0].attn.qkv.out_features == 3 * 64 * plain.blocks[0].attn.num_heads
