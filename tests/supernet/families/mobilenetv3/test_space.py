"""MobileNetV3's layout: its networks, maps and channels are those that timm builds; a wrong one is refused."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from timm.layers import make_divisible

from ofa.supernet.families.mobilenetv3.space import mid_channels
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet

SMALL = [
    {"resolutions": [16, 20], "stages": [{"width": 8, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3]}]},
    {
        "resolutions": [24],
        "stages": [
            {"width": 8, "depths": [1, 3], "kernels": [3], "expands": [2, 4]},
            {"width": 16, "depths": [2], "kernels": [3, 5, 7], "expands": [3], "stride": 2},
        ],
    },
    {"resolutions": [16], "stages": [{"width": 8, "depths": [2], "kernels": [5], "expands": [1.5]}]},
]
STAGE = {"width": 8, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3]}
BASE = {"resolutions": [16, 20], "stages": [STAGE]}


def every_code(space):
    return np.array(list(product(*map(range, space.num_options))), np.int8)


def test_sizes_of_the_presets():
    a_stage = 9**2 + 9**3 + 9**4
    assert SearchSpace.preset("ofa_mbv3").size == SearchSpace.preset("ofa_mbv3_w1.2").size == 25 * a_stage**5
    assert SearchSpace.preset("tiny_mbv3").size == 5 * (9 + 81) ** 3


@pytest.mark.parametrize("values", SMALL)
def test_size_is_the_number_of_distinct_networks(values):
    space = SearchSpace.from_dict(values)
    codes = np.unique(space.canonical(every_code(space)), axis=0)
    subnets = [space.decode(code) for code in codes]
    net = Supernet(space, num_classes=2)
    networks = {(subnet.resolution, json.dumps(net.describe(subnet)["blocks"])) for subnet in subnets}
    assert space.size == len(codes) == len(set(subnets)) == len({subnet.id for subnet in subnets}) == len(networks)


def test_whole_ratios_are_written_one_way():
    stage = {**STAGE, "width": 16}
    space = SearchSpace.from_dict({**BASE, "stages": [{**stage, "expands": [1.5, 2.0]}]})
    assert space.to_dict() == SearchSpace.from_dict({**BASE, "stages": [{**stage, "expands": [1.5, 2]}]}).to_dict()
    assert space.largest.to_json().endswith('"expands": [2, 2]}')
    given = Subnet(20, (2,), (5, 5), (2.0, 2.0))
    assert space.decode(space.encode(given)).id == space.largest.id


@pytest.mark.parametrize(
    "changes, key, words",
    [
        ({"resolutions": [20, 16]}, (), "resolutions [20, 16] must be ascending"),
        ({"resolutions": [16, 16]}, (), "without repeats"),
        ({"resolutions": []}, ("resolutions",), "at least 1 item"),
        ({"resolutions": [7, 16]}, ("resolutions", 0), "greater than or equal to 8"),
        ({"resolutions": list(range(16, 144))}, ("resolutions",), "at most 127 items"),
        ({"resolutions": ["large"]}, ("resolutions", 0), "valid integer"),
        ({"stages": []}, ("stages",), "at least 1 item"),
        ({"stages": [{**STAGE, "stride": 2}] * 5, "resolutions": [64]}, (), "strides multiply to 32"),
        ({"stages": [{**STAGE, "stride": 2}] * 3, "resolutions": [8]}, (), "below the network's total stride 16"),
        ({"stages": [{**STAGE, "depths": [2, 1]}]}, ("stages", 0), "depths [2, 1] must be ascending"),
        ({"stages": [{**STAGE, "depths": [0, 1]}]}, ("stages", 0, "depths", 0), "greater than or equal to 1"),
        ({"stages": [STAGE, {**STAGE, "kernels": [3, 4]}]}, ("stages", 1), "only odd kernel sizes"),
        ({"stages": [{**STAGE, "kernels": [3, 33]}]}, ("stages", 0, "kernels", 1), "less than or equal to 31"),
        ({"stages": [{**STAGE, "expands": [3, 3]}]}, ("stages", 0), "expands [3, 3] must be ascending"),
        ({"stages": [{**STAGE, "expands": [0, 3]}]}, ("stages", 0, "expands", 0), "greater than or equal to 0.01"),
        ({"stages": [{**STAGE, "expands": [3, 3.1]}]}, (), "stages.0: expand ratios [3, 3.1] of 16 channels round"),
        ({"stages": [{**STAGE, "stride": 3}]}, ("stages", 0, "stride"), "less than or equal to 2"),
        ({"stages": [{**STAGE, "act": "gelu"}]}, ("stages", 0, "act"), "'relu', 'relu6', 'hard_swish' or 'swish'"),
        ({"stages": [{**STAGE, "kernel": [3]}]}, ("stages", 0, "kernel"), "not permitted"),
        ({"stages": [{"depths": [1]}]}, ("stages", 0, "width"), "required"),
        ({"stages": [{**STAGE, "width": 0}]}, ("stages", 0, "width"), "greater than or equal to 1"),
        ({"stem": {"stride": 4}}, ("stem", "stride"), "less than or equal to 2"),
        ({"head": {"features": -1}}, ("head", "features"), "greater than or equal to 1"),
        ({"family": "densenet"}, ("family",), "'mobilenetv3'"),
        ({"classes": 10}, ("classes",), "not permitted"),
    ],
)
def test_wrong_space_is_refused_with_key_and_reason(changes, key, words):
    SearchSpace.from_dict(BASE)
    with pytest.raises(ValidationError) as caught:
        SearchSpace.from_dict({**BASE, **changes})
    error, *more = caught.value.errors()
    assert error["loc"] == key and words in error["msg"]
    # pydantic drops wrong items of a tuple, and then says that it is too short.
    assert all(other["type"] == "too_short" for other in more)


def test_mid_channels_is_timms_rounding():
    ratios = [0.25, 0.5, 1, 1.5, 2, 2.5, 3, 3.3, 4, 6]
    cases = [(width, ratio) for width in range(1, 260) for ratio in ratios]
    assert [mid_channels(*case) for case in cases] == [make_divisible(width * ratio) for width, ratio in cases]


@pytest.mark.parametrize("name, picked", [("tiny_mbv3", slice(None)), ("ofa_mbv3", slice(0, 3))])
def test_widths_and_sizes_are_those_of_the_real_feature_maps(name, picked):
    space = SearchSpace.preset(name)
    model = Supernet(space, num_classes=2).to("meta").eval().model
    widths = [block.conv_pw.in_channels for stage in model.blocks[1:-1] for block in stage]
    assert [slot.in_channels for slot in space.blocks] == widths
    seen = []
    for module in (*(block for stage in model.blocks[1:-1] for block in stage), model.blocks[-1]):
        module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[-1]))
    for resolution in space.resolutions[picked]:
        seen.clear()
        model(torch.empty(1, 3, resolution, resolution, device="meta"))
        assert space.sizes(resolution) == tuple(seen)
