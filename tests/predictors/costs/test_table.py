"""Cost tables equal what is counted on real models, and the published figures."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from shared_spaces import BY_HAND
from torch import nn

from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet

# Stages with unlike choices (so the tables have holes), a ratio that is no whole number, a stem that keeps the size.
ODD = {
    "resolutions": [17, 24, 33],
    "stem": {"width": 8, "first_width": 12, "stride": 1},
    "stages": [
        {"width": 12, "stride": 2, "depths": [1, 3], "kernels": [1, 3, 5], "expands": [1, 2.5]},
        {"width": 20, "depths": [2], "kernels": [3], "expands": [2, 3, 6], "act": "swish", "se": True},
    ],
    "head": {"width": 24, "features": 40},
}
SPACES = {**{name: SearchSpace.preset(name) for name in BY_HAND}, "odd": SearchSpace.from_dict(ODD)}
ODD_SPACE = SPACES["odd"]

# Rows of DyNAS-T's table of OFA MobileNetV3 subnets (width 1.0, resolution 224), spread over the file:
# depths, kernels, expands, parameters, MACs.
PUBLISHED = """\
2-2-2-2-2,3-3-3-3-3-5-3-3-5-3-7-7-7-5-3-5-5-5-3-5,3-3-4-6-3-3-3-4-3-3-4-6-3-3-3-3-3-4-3-3,3588304,129529712
2-3-2-2-2,3-3-3-5-5-5-5-7-5-3-3-3-5-5-3-5-5-3-5-5,3-4-4-4-3-3-4-4-4-3-4-3-4-3-3-3-4-4-6-3,3724720,155291968
3-4-2-3-3,3-3-5-5-5-3-5-5-5-7-3-5-3-5-7-5-7-3-3-5,4-4-4-3-3-3-4-3-3-3-4-4-6-3-4-4-4-4-3-4,4359544,228136832
2-2-2-2-4,3-3-7-7-3-5-7-3-5-7-5-5-3-5-3-3-5-3-7-7,3-3-3-3-3-3-3-4-4-4-4-4-4-4-3-4-6-4-4-3,4715736,174221184
3-3-3-3-3,3-5-7-3-5-5-5-3-5-3-5-5-7-3-5-3-7-3-5-3,4-6-4-4-3-6-6-3-4-4-4-6-4-4-6-3-4-4-4-3,4785144,286105536
3-3-2-2-3,5-3-5-5-5-3-5-3-5-3-3-5-5-5-5-7-5-7-7-5,3-3-4-4-4-3-3-6-3-3-4-4-4-3-3-3-4-4-4-3,4187704,184568224
3-3-3-4-3,5-5-5-5-5-3-3-5-3-5-5-5-5-5-7-5-7-5-5-5,6-4-6-6-6-3-4-6-6-6-4-4-6-4-6-4-6-3-4-4,5169640,329656256
3-3-2-4-3,5-7-5-7-5-5-7-3-7-5-7-5-5-7-3-3-5-3-5-5,3-4-4-4-3-6-6-6-4-3-6-3-3-4-4-6-4-4-4-6,4878120,280935744
4-3-3-3-3,7-3-7-5-3-5-5-5-5-5-5-5-3-5-7-7-7-5-5-7,6-6-6-4-4-4-4-6-4-3-4-3-3-4-4-3-6-4-3-4,4587920,315774720
4-4-4-4-4,7-5-3-7-7-3-3-7-3-5-5-3-5-7-7-3-5-5-7-5,6-6-4-4-6-6-6-3-4-4-6-3-4-6-4-4-6-6-6-6,6888432,419149472
4-4-4-4-4,7-5-5-7-7-3-7-7-7-5-5-3-5-7-7-3-5-7-7-5,6-6-4-4-3-6-4-3-4-4-4-3-6-6-4-4-6-6-6-6,6953088,416383904
4-4-3-4-4,7-5-7-5-7-7-7-7-3-5-5-5-5-3-7-3-5-7-3-3,6-6-4-4-6-6-4-3-6-4-6-3-4-4-4-4-6-6-6-6,6613056,409736096
3-3-4-3-4,7-7-7-7-7-7-7-3-7-5-5-7-5-7-5-5-7-7-5-7,4-4-4-4-6-4-4-6-6-4-4-6-4-4-3-6-6-4-6-6,6054768,338458144
""".splitlines()


def counted(model, resolution, in_chans):
    """(MACs, parameters) of a model, by hooks on convolutions and linear layers; the meta device runs shapes alone."""
    macs = 0

    def add(module, _inputs, output):
        nonlocal macs
        per_value = module.weight[0].numel()  # the weights that one output value sums over
        macs += output[0].numel() * per_value

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        model.to("meta")(torch.empty(1, in_chans, resolution, resolution, device="meta"))
    return macs, sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("num_classes, in_chans", [(1000, 3), (7, 1)])
def test_tables_equal_counts_on_extracted_models(name, num_classes, in_chans):
    space = SPACES[name]
    head = {"num_classes": num_classes, "in_chans": in_chans}
    macs, params = CostTable.macs(space, **head), CostTable.params(space, **head)
    net = Supernet(space, **head)
    codes = space.sample(4, np.random.default_rng(num_classes))
    codes = np.concatenate([codes, [space.encode(space.smallest), space.encode(space.largest)]])
    expected = [counted(net.extract(subnet), subnet.resolution, in_chans) for subnet in map(space.decode, codes)]
    assert [*zip(macs.predict(codes), params.predict(codes), strict=True)] == expected


@pytest.mark.parametrize("row", PUBLISHED)
def test_published_figures(row):
    space = SPACES["ofa_mbv3"]
    *choices, params, macs = row.split(",")
    subnet = Subnet(224, *(tuple(int(value) for value in choice.split("-")) for choice in choices))
    codes = space.encode(subnet)[None]
    assert CostTable.params(space, num_classes=1000).predict(codes) == [int(params)]
    assert CostTable.macs(space, num_classes=1000).predict(codes) == [int(macs)]


@pytest.mark.parametrize("combine, combined", [("sum", sum), ("max", max)])
def test_prediction_combines_active_blocks(combine, combined):
    rng = np.random.default_rng(0)
    plain = CostTable.macs(ODD_SPACE, num_classes=2)
    parts = tuple(replace(part, costs=rng.random(part.costs.shape)) for part in plain.parts)
    table = CostTable(ODD_SPACE, "made up", "", parts, slope=2.0, intercept=-0.5, combine=combine)
    ends, *blocks = (part.costs for part in parts)
    codes = ODD_SPACE.sample(300, rng)
    predicted = table.predict(codes)
    assert predicted.shape == (300,) and predicted.dtype == np.float64
    for code, value in zip(codes, predicted, strict=True):
        subnet = ODD_SPACE.decode(code)
        resolution = ODD_SPACE.resolutions.index(subnet.resolution)
        costs = [ends[resolution]]
        for number, slot in enumerate(ODD_SPACE.blocks):
            if slot.index < subnet.depths[slot.stage]:
                stage = ODD_SPACE.stages[slot.stage]
                kernel = stage.kernels.index(subnet.kernels[number])
                expand = stage.expands.index(subnet.expands[number])
                costs.append(blocks[number][resolution, kernel, expand])
        assert value == pytest.approx(2 * combined(costs) - 0.5)


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_inactive_blocks_do_not_count_when_costs_are_negative(combine):
    plain = CostTable.macs(ODD_SPACE, num_classes=2)
    scales = [-10, *[-1] * len(ODD_SPACE.blocks)]
    parts = tuple(replace(part, costs=scale * part.costs) for part, scale in zip(plain.parts, scales, strict=True))
    table = replace(plain, parts=parts, combine=combine)
    for subnet in (ODD_SPACE.smallest, ODD_SPACE.largest):
        assert table.predict(ODD_SPACE.encode(subnet)[None]) < 0


def test_unknown_combination():
    plain = CostTable.macs(ODD_SPACE, num_classes=2)
    with pytest.raises(ValueError, match="combine is 'mean'; it must be one of sum, max"):
        replace(plain, combine="mean")


@pytest.mark.parametrize("name", SPACES)
def test_constructors_give_tables_of_the_public_class(name):
    for make in (CostTable.macs, CostTable.params, CostTable.flash, CostTable.peak_memory):
        table = make(SPACES[name], num_classes=3)
        assert type(table) is CostTable and type(replace(table, slope=2.0)) is CostTable


def test_inactive_blocks_cost_nothing():
    rng = np.random.default_rng(1)
    space = SPACES["tiny_mbv3"]
    codes = rng.integers(0, space.num_options, size=(500, space.num_genes)).astype(np.int8)
    table = CostTable.macs(space, num_classes=10)
    assert (codes != space.canonical(codes)).any()
    assert np.array_equal(table.predict(codes), table.predict(space.canonical(codes)))


def test_largest_and_smallest_are_the_ends():
    for name, space in SPACES.items():
        codes = space.sample(2000, np.random.default_rng(2))
        for table in (CostTable.macs(space, num_classes=10), CostTable.params(space, num_classes=10)):
            low, high = table.predict(np.stack([space.encode(space.smallest), space.encode(space.largest)]))
            assert low <= table.predict(codes).min() and table.predict(codes).max() <= high, name


def test_a_hundred_thousand_at_once():
    space = SPACES["ofa_mbv3"]
    codes, table = space.sample(100_000, np.random.default_rng(3)), CostTable.macs(space, num_classes=1000)
    predicted = table.predict(codes)
    assert predicted.shape == (100_000,)
    assert [table.predict(codes[[row]])[0] for row in range(0, 100_000, 9999)] == predicted[::9999].tolist()


def test_counting_needs_no_torch():
    program = (
        "import sys, numpy, ofa\n"
        "space = ofa.SearchSpace.preset('tiny_mbv3')\n"
        "ofa.CostTable.macs(space, num_classes=10).predict(space.sample(9, numpy.random.default_rng(0)))\n"
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
