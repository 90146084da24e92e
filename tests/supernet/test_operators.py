"""Lists of operators by hand, and the lists of families beside what timm's own modules are traced to."""

import numpy as np
import pytest
import timm
import torch
from shared_spaces import BY_HAND
from torch import nn
from traced_operators import operators_of

from ofa.supernet import families
from ofa.supernet.families.operators import operators_of_family, parts_of_subnet
from ofa.supernet.integers import ceil_div, round_up
from ofa.supernet.operators import Builder, Operator, biases, lifetimes, macs, moments, params, peak_activation, weights
from ofa.supernet.space import SearchSpace

ODD = {
    "resolutions": [17, 33],
    "stem": {"width": 8, "first_width": 40, "stride": 1},
    "stages": [
        {"width": 48, "stride": 2, "depths": [1, 3], "kernels": [1, 3], "expands": [0.5, 1]},
        {"width": 20, "depths": [2], "kernels": [3], "expands": [1, 2.5, 6], "act": "swish", "se": True},
    ],
    "head": {"width": 24, "features": 40},
}
SPACES = {**{name: SearchSpace.preset(name) for name in BY_HAND}, "odd": SearchSpace.from_dict(ODD)}


@pytest.fixture
def residual():
    """8 channels to 8, through 16 of them, gated."""
    made = Builder(8)
    wide = made.depthwise(made.conv(0, 16, act="relu"), 16, kernel=3, stride=1, act="relu")
    gate = made.conv(made.add(Operator("pool", (wide,), 16)), 16, norm=False, act="hard_sigmoid")
    narrow = made.conv(made.add(Operator("mul", (wide, gate), 16)), 8)
    made.add(Operator("add", (narrow, 0), 8))
    return made.done()


def test_a_measure_by_hand(residual):
    assert macs(residual, 4) == 16 * (8 * 16 + 9 * 16 + 16 * 8) + 16 * 16
    assert weights(residual) == 8 * 16 + 9 * 16 + 16 * 16 + 16 * 8
    assert biases(residual) == 16 + 16 + 16 + 8
    assert params(residual) == weights(residual) + 2 * (16 + 16 + 8) + 16
    # The input waits for the addition, the map for its gate: 8 + 16 + 16 channels of 16 positions, and 16 gates.
    assert peak_activation(residual, 4) == 16 * (8 + 16 + 16) + 16
    assert lifetimes(residual) == [(0, 6), (0, 1), (1, 4), (2, 3), (3, 4), (4, 5), (5, 6), (6, 6)]
    assert moments(lifetimes(residual), [1] * 8) == [2, 3, 3, 4, 4, 3, 3]


@pytest.mark.parametrize("fold", [macs, peak_activation])
def test_many_sides_at_once_cost_what_each_does(residual, fold):
    sides = np.array([1, 2, 5, 112])
    assert fold(residual, sides).tolist() == [fold(residual, int(side)) for side in sides]


@pytest.mark.parametrize("side", range(1, 12))
@pytest.mark.parametrize("kernel, stride, padding", [(1, 1, 0), (3, 1, 1), (3, 2, 1), (5, 2, 2), (1, 2, 0), (2, 2, 0)])
def test_sides_are_those_of_torch(side, kernel, stride, padding):
    if side + 2 * padding < kernel:
        return
    layer = nn.Sequential(nn.Conv2d(4, 6, kernel, stride, padding), nn.MaxPool2d(3, 2, 1)).eval()
    *_, written = operators_of(layer, 4).shapes(side)
    assert (1, *written[:1], written.side, written.side) == tuple(layer(torch.zeros(1, 4, side, side)).shape)


@pytest.mark.parametrize("name", SPACES)
def test_a_family_lists_what_its_modules_do(name):
    """Random subnets, cut as timing cuts them: every part is listed as the module of timm is traced to."""
    space, head = SPACES[name], {"num_classes": 7, "in_chans": 1}
    own, family = operators_of_family(space), families.model(space.family)
    codes = np.concatenate([space.sample(3, np.random.default_rng(0)), [space.encode(space.largest)]])
    for subnet in map(space.decode, codes):
        model = family.build(family.describe(space, subnet, **head), device="meta").eval()
        stem, stages, end = family.parts(model)
        assert own.stem(space, in_chans=1) == operators_of(stem, 1)
        assert own.head(space, num_classes=7) == operators_of(end, space.stages[-1].width)
        for slot, kernel, expand in zip(space.blocks, subnet.kernels, subnet.expands, strict=True):
            if slot.index < subnet.depths[slot.stage]:
                listed = own.block(space, slot, kernel=kernel, expand=expand)
                assert listed == operators_of(stages[slot.stage][slot.index], slot.in_channels)


# MACs as published, in millions: https://arxiv.org/abs/1512.03385 and others, counted as multiply-accumulates.
@pytest.mark.parametrize(
    "name, millions",
    [("resnet18", 1814), ("resnet50", 4089), ("mobilenetv2_100", 301), ("efficientnet_b0", 386), ("regnetx_002", 199)],
)
def test_other_models_are_traced(name, millions):
    model = timm.create_model(name, num_classes=1000).eval()
    part = operators_of(model, 3)
    assert params(part) == sum(parameter.numel() for parameter in model.parameters())
    assert round(macs(part, 224) / 1e6) == millions


@pytest.mark.parametrize(
    "module, message",
    [
        (nn.Sequential(nn.Conv2d(4, 4, 3, dilation=2)), "^0: .*padded or dilated"),
        (nn.Sequential(nn.Conv2d(4, 4, (3, 1))), r"^0: .*rows and columns differ: \(3, 1\)"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding="same")), "^0: .*padded or dilated"),
        (nn.Sequential(nn.ReLU()), "^0: it does not directly follow"),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), "^2: it does not directly follow"),
        (nn.Sequential(nn.LayerNorm(4)), "^0: no operator is known for LayerNorm"),
    ],
)
def test_what_cannot_be_listed_is_named(module, message):
    with pytest.raises(NotImplementedError, match=message):
        operators_of(module.eval(), 4)


def test_integers_are_rounded_up():
    assert [ceil_div(number, 4) for number in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert round_up(np.array([0, 1, 4, 5]), 4).tolist() == [0, 4, 4, 8]


@pytest.mark.parametrize("name", SPACES)
def test_the_parts_of_a_subnet_are_its_model(name):
    space, family = SPACES[name], families.model(SPACES[name].family)
    for subnet in map(space.decode, space.sample(3, np.random.default_rng(1))):
        model = family.build(family.describe(space, subnet, num_classes=7, in_chans=3), device="meta").eval()
        parts, whole = parts_of_subnet(space, subnet, num_classes=7, in_chans=3), operators_of(model, 3)
        assert [op._replace(inputs=()) for part, _ in parts for op in part] == [op._replace(inputs=()) for op in whole]
        assert sum(macs(*part) for part in parts) == macs(whole, subnet.resolution)
        assert max(peak_activation(*part) for part in parts) == peak_activation(whole, subnet.resolution)
