"""Strides, kernels before the blocks, and stages of one width in spaces that are written by hand."""

import copy
import itertools

import numpy as np
import pytest
import torch
from shared_networks import scramble

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.latency.parts import Models, add_parts
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet

HEAD = {"num_classes": 5, "in_chans": 3}
VALUES = {
    "family": "efficientnet",
    "resolutions": [20, 32],
    "timm": "timm.models.EfficientNet",
    "arguments": {
        "block_args": [["dsa_r2_k3_s1_c16"], ["ir_r1_k3_s2_e2_c24_noskip", "ir_r1_k3_s1_e2_c24"]],
        "stem_size": 16,
        "stem_kernel_size": 5,
        "fix_stem": True,
        "num_features": 32,
        "round_chs_fn": "int",
        "act_layer": "relu6",
    },
    "stages": [
        {"depths": [1, 2], "blocks": [{"in_channels": 16, "strides": {"conv_dw": [2, 1]}}, {"in_channels": 16}]},
        {"depths": [1, 2], "blocks": [{"in_channels": 16, "expands": [1, 2]}, {"in_channels": 24}]},
    ],
    "widths": {"stem": [8, 16], "0": [8, 16]},
    "expand_of": "in",
    "stem": {"kernels": {"conv_stem": [3, 5]}, "strides": {"conv_stem": [2, 1]}},
    "stages_of_one_width": True,
}
SPACE = SearchSpace.from_dict(VALUES)


def every_stride():
    """A subnet with each choice of strides and of first kernels."""
    for strides, kernel in itertools.product(itertools.product((2, 1), (2, 1)), (3, 5)):
        yield Subnet(32, (2, 2), kernels=(kernel,), expands=(1,), widths=(8, 16), strides=strides)


def test_genes():
    assert [gene.key for gene in SPACE.genes] == [
        *("resolution", "depth", "depth", "width_stem", "width_0", "kernel_conv_stem", "expand"),
        *("stride_stem", "stride_0"),
    ]
    assert SPACE.largest.strides == (1, 1) and SPACE.size == 2 * (2 * 2) * (2 * 2) * 2 * 2 * (2 * 2)


def macs_that_run(model, x):
    """Of convolutions and linear layers, by what they write."""
    counts = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(lambda module, _, out: counts.append(module.weight[0].numel() * out.numel()))
    model(x)
    return sum(counts)


@torch.no_grad()
def test_every_stride_runs_and_is_extracted_bit_for_bit():
    net = scramble(Supernet(SPACE, **HEAD))
    for subnet in every_stride():
        x = torch.randn(2, 3, 32, 32)
        model = net.extract(subnet)
        assert torch.equal(net.activate(subnet)(x), model(x))
        maps = model.forward_intermediates(x, intermediates_only=True)
        assert SPACE.sizes_of(subnet)[1] == 32 // subnet.strides[0] // subnet.strides[1]
        assert maps[-1].shape[-1] == SPACE.sizes_of(subnet)[-1]


def test_costs_are_those_of_the_extracted_networks():
    net = Supernet(SPACE, **HEAD)
    macs, memory = CostTable.macs(SPACE, **HEAD), CostTable.peak_memory(SPACE, **HEAD)
    for subnet in every_stride():
        model = net.extract(subnet)
        counted = macs_that_run(model, torch.zeros(1, 3, 32, 32))
        code = SPACE.encode(subnet)[None]
        assert macs.predict(code) == [counted]
        first = 16 * (32 // subnet.strides[0]) ** 2
        assert memory.predict(code)[0] >= 4 * (3 * 32**2 + first // 2)


def test_latency_tables_time_every_part_at_the_maps_that_strides_give():
    models = Models(lambda module, shape: module(torch.zeros(1, *shape)))
    layout = add_parts(models, SPACE, HEAD, progress=False)
    sizes = [part.shape for part in layout.costs(SPACE, np.zeros(len(models.timed)))]
    assert sizes[0] == (2, 2, 2, 2)  # the stem: resolutions, widths, kernels, strides
    first = {shape for _, shape in models.timed if len(shape) == 3 and shape[0] == 8}
    assert {side for _, side, _ in first} >= {32, 16, 8, 20, 10, 5}


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("stages", 0, "blocks", 1, "strides"), {"conv_dw": [2, 1]}, "the first block of a stage alone"),
        (("stem", "strides"), {"conv_stem": [1, 2]}, "must be descending, from 4 to 1"),
        (("stem", "strides"), {"conv_stem": [8, 1]}, "must be descending, from 4 to 1"),
        (("stem", "strides"), {"conv_stem": [2, 0]}, "must be descending, from 4 to 1"),
        (("stem", "strides"), {"conv_stem": [2, 1], "other": [1]}, "one layer of a part"),
        (("stem", "kernels"), {"conv_stem": [5, 3]}, "must be ascending"),
    ],
)
def test_strides_that_cannot_be(path, value, message):
    with pytest.raises(ValueError, match=message):
        SearchSpace.from_dict(changed(path, value))


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("stem", "strides"), {"bn1": [2, 1]}, "stem.strides.bn1: no stride"),
        (("stem", "kernels"), {"conv_stem": [3, 7]}, r"stem.kernels.conv_stem \[3, 7\]: the kernel .* is 5"),
        (("stages", 0, "blocks", 0, "strides"), {"conv": [2, 1]}, "stages.0.blocks.0.strides.conv: no stride"),
        (("stages", 0, "blocks", 0, "strides"), {"bn1": [2, 1]}, "stages.0.blocks.0.strides.bn1: no stride"),
    ],
)
def test_choices_that_the_model_does_not_have(path, value, message):
    with pytest.raises(ValueError, match=message):
        _ = SearchSpace.from_dict(changed(path, value)).layout


def changed(path, value):
    values = copy.deepcopy(VALUES)
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return values
