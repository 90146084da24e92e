"""The networks that people make by hand for microcontrollers are points of the space, layer by layer."""

import itertools
import math

import pytest
import torch
from shared_networks import scramble, subnets_of
from timm.layers import BatchNormAct2d
from torch import nn

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.microcontroller.program import STACK, arena, ram
from ofa.supernet.integers import round_up
from ofa.supernet.operators import Builder, Operator
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet

SPACE = SearchSpace.preset("mcu_32")
HEAD = {"num_classes": 12, "in_chans": 1}
# Channels of the first convolution, and of each block with its stride: DS-CNNs after "Hello Edge" (arXiv:1711.07128).
BY_HAND = {
    "8 KB": (12, [(12, 1)] * 4),
    "8 KB, tapered": (12, [(48, 2), (48, 1), (48, 1), (48, 1)]),
    "16 KB": (28, [(28, 1)] * 4),
    "22 KB": (40, [(40, 1)] * 4),
    "22 KB, tapered": (40, [(160, 2), (160, 1), (160, 1), (160, 1)]),
    "64 KB": (120, [(120, 1)] * 4),
}
by_hand = pytest.mark.parametrize("name", BY_HAND)


def subnet_of(name):
    width, blocks = BY_HAND[name]
    return Subnet(
        resolution=32,
        depths=(2, 1, 1),
        widths=(width, blocks[0][0], blocks[2][0], blocks[3][0]),
        kernels=(7, 3, 3, 3, 3, 3, 3),
        strides=(blocks[0][1], blocks[2][1], blocks[3][1]),
    )


def written_by_hand(name):
    """The layers, one after the other."""

    def conv(read, out, kernel, stride=1, groups=1):
        made = nn.Conv2d(read, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [made, BatchNormAct2d(out, act_layer=nn.ReLU6)]

    width, blocks = BY_HAND[name]
    layers = conv(1, width, 7, 2)
    for out, stride in blocks:
        layers += [*conv(width, width, 3, stride, width), *conv(width, out, 1)]
        width = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, HEAD["num_classes"])).eval()


def layers_that_run(model, x):
    """In their order: what has weights, and activation functions."""
    ran, kinds = [], (nn.Conv2d, nn.BatchNorm2d, nn.ReLU6, nn.Linear)
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda module, _inputs, _result: ran.append(repr(module)))
    model(x)
    return ran


@by_hand
@torch.no_grad()
def test_the_extracted_network_is_the_one_made_by_hand(name):
    subnet, hand = subnet_of(name), written_by_hand(name)
    model = scramble(Supernet(SPACE, **HEAD)).extract(subnet)

    x = torch.randn(3, 1, 32, 32)
    assert layers_that_run(model, x) == layers_that_run(hand, x)
    hand.load_state_dict(dict(zip(hand.state_dict(), model.state_dict().values(), strict=True)))
    torch.testing.assert_close(hand(x), model(x))


@by_hand
def test_its_costs_are_those_of_the_network_made_by_hand(name):
    width, blocks = BY_HAND[name]
    code = SPACE.encode(subnet_of(name))[None]
    made = Builder(1)
    x = made.conv(0, width, kernel=7, stride=2, act="relu6")
    macs, side, read = 49 * 256 * width, 16, width
    for out, stride in blocks:
        side //= stride
        macs += side**2 * read * (9 + out)
        x = made.conv(made.depthwise(x, read, kernel=3, stride=stride, act="relu6"), out, act="relu6")
        read = out
    made.add(Operator("linear", (made.add(Operator("pool", (x,), read)),), HEAD["num_classes"], bias=True))
    network = made.done()

    counted = sum(parameter.numel() for parameter in written_by_hand(name).parameters())
    assert CostTable.params(SPACE, **HEAD).predict(code) == [counted]
    assert CostTable.macs(SPACE, **HEAD).predict(code) == [macs + read * HEAD["num_classes"]]

    # RAM of the program, as one list of operators: without what the parts of a table know of each other.
    buffers = 32**2 + round_up(HEAD["num_classes"], 4) + STACK["cortex_m4"]
    for in_place in (False, True):
        expected = buffers + arena(network, 32, vectors=False, in_place=in_place, outside=[0, len(network)])
        assert ram(SPACE, **HEAD, in_place=in_place).predict(code) == [expected]
        assert expected <= 1024 * int(name.split()[0])


def test_subnets_are_extracted_bit_for_bit_with_every_stride_and_first_kernel():
    net = scramble(Supernet(SPACE, **HEAD))
    seen = set()
    for subnet in subnets_of(SPACE, 12, seed=3):
        x = torch.randn(2, 1, subnet.resolution, subnet.resolution)
        seen.add((subnet.kernels[0], subnet.strides))
        with torch.no_grad():
            model = net.extract(subnet)
            assert torch.equal(net.activate(subnet)(x), model(x))
        assert model.conv_stem.kernel_size == (subnet.kernels[0],) * 2
    assert {kernel for kernel, _ in seen} == {3, 5, 7}
    assert {stride for _, strides in seen for stride in strides} == {1, 2}


def test_maps_are_as_large_as_the_strides_say():
    for strides in itertools.product((2, 1), repeat=3):
        subnet = Subnet(32, (2, 2, 2), (7, *(3,) * 6), widths=(8, 12, 12, 12), strides=strides)
        sizes = SPACE.sizes_of(subnet)
        first, second, third = (16 // math.prod(strides[:number]) for number in (1, 2, 3))
        assert sizes == (16, first, first, second, second, third, third)
        assert [shape.out_side for shape in SPACE.shapes(subnet)] == [first, first, second, second, third, third]


def test_a_space_is_read_from_what_it_writes():
    values = SPACE.to_dict()
    assert SearchSpace.from_dict(values) == SPACE
    assert "stem" not in SearchSpace.preset("mcunet").to_dict()
