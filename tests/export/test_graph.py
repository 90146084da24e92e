"""The directly written ONNX graph computes what torch computes, for everything that a space can hold."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from shared_networks import scramble
from shared_spaces import BY_HAND
from timm.layers import BatchNormAct2d, SelectAdaptivePool2d
from torch import nn

from ofa.export.graph import onnx_graph
from ofa.export.runtimes import onnxruntime
from ofa.supernet import families
from ofa.supernet.families.mobilenetv3.model import parts
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

torch.set_num_threads(1)  # tests run beside each other


def space(act):
    stages = [
        {"width": 16, "stride": 2, "depths": [2], "kernels": [3], "expands": [3], "act": act},
        {"width": 24, "stride": 2, "depths": [2], "kernels": [5], "expands": [2], "act": act, "se": True},
    ]
    stem = {"width": 8, "first_width": 12, "first_act": act, "stride": 1}
    return SearchSpace.from_dict({"resolutions": [17], "stem": stem, "stages": stages, "act": act})


@torch.no_grad()
def assert_same(module, shape, *, batch=3):
    proto = onnx_graph(module, shape)
    onnx.checker.check_model(proto, full_check=True)
    x = 2 * torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1))
    expected = module(x).numpy()
    got = onnxruntime.run(onnxruntime.load(proto.SerializeToString()), x.numpy())
    assert got.shape == expected.shape and np.ptp(expected) > 0
    assert np.abs(got - expected).max() < 1e-5 * np.ptp(expected)
    return proto


@pytest.mark.parametrize(
    "act, ops", [("relu", "Relu"), ("relu6", "Clip"), ("hard_swish", "HardSwish"), ("swish", "Sigmoid")]
)
def test_every_activation(act, ops):
    given = space(act)
    model = scramble(Supernet(given, num_classes=5).extract(given.largest))
    written = [node.op_type for node in assert_same(model, (3, 17, 17)).graph.node]
    # Stem and first block have one each, the four elastic blocks two, the head two; squeeze-excite always has a ReLU.
    assert written.count(ops) == 2 + 4 * 2 + 2 + (2 if act == "relu" else 0)
    assert "BatchNormalization" not in written


@pytest.mark.parametrize("name", BY_HAND)
def test_whole_subnets_and_their_parts(name):
    given = SearchSpace.preset(name)
    code = given.sample(1, np.random.default_rng(0))[0]
    subnet = given.decode(code)
    model = scramble(Supernet(given, num_classes=5, in_chans=1).extract(subnet))
    side = given.resolutions[0]
    assert_same(model, (1, side, side), batch=2)

    stem, stages, head = families.model(given.family).parts(model)
    shapes = given.shapes(replace(subnet, resolution=side))
    assert_same(stem, (1, side, side))
    for shape in shapes:
        position = shape.position
        assert_same(stages[position.stage][position.index], (shape.in_channels, shape.in_side, shape.in_side))
    assert_same(head, (shapes[-1].out_channels, shapes[-1].out_side, shapes[-1].out_side))


def test_parts_in_a_row_are_the_model():
    given = SearchSpace.preset("tiny_mbv3")
    model = scramble(Supernet(given, num_classes=5).extract(given.largest))
    stem, stages, head = parts(model)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(nn.Sequential(stem, *stages, head)(x), model(x))


def test_names_and_shapes():
    graph = onnx_graph(nn.Sequential(nn.Conv2d(3, 4, 3, 2)).eval(), (3, 9, 9)).graph
    (given,), (wanted,) = graph.input, graph.output
    assert (given.name, wanted.name) == ("input", "logits")
    dims = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert dims == ["batch", 3, 9, 9]


def test_a_call_that_does_nothing():
    assert_same(nn.Identity().eval(), (1, 1, 1))


def test_convolution_variants():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(4, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
        BatchNormAct2d(8, act_layer=nn.ReLU),
        nn.Conv2d(8, 6, 3, padding=2, dilation=2),
        BatchNormAct2d(6, apply_act=False),
        nn.Sigmoid(),
    ]
    assert_same(scramble(nn.Sequential(*layers)), (4, 13, 13))


class Rounds(nn.Module):
    def forward(self, x):
        return torch.round(x)


class MeanOverTheBatch(nn.Module):
    def forward(self, x):
        return x.mean(0, keepdim=True)


class MovesTheBatch(nn.Module):
    def forward(self, x):
        return x.permute(1, 0, 2, 3)


class FoldsTheBatch(nn.Module):
    def forward(self, x):
        return x.reshape(-1, 8)


class Branches(nn.Module):
    def forward(self, x):
        return x if x.mean() > 0 else -x


class AddsTwice(nn.Module):
    def forward(self, x):
        return torch.add(x.mean((2, 3), keepdim=True), x, alpha=2)


@pytest.mark.parametrize(
    "module, words",
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softplus()), "1: no ONNX operator is known for Softplus"),
        (nn.Sequential(nn.Sequential(nn.Mish())), "0.0: no ONNX operator is known for Mish"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding="same")), "0: no ONNX operator is known for this Conv2d"),
        (nn.GroupNorm(1, 3), "group_norm: no ONNX operator is known for"),
        (Rounds(), "round_1: no ONNX operator is known for"),
        (AddsTwice(), "add: no ONNX operator is known for"),
        (MeanOverTheBatch(), "mean: "),
        (MovesTheBatch(), "permute: "),
        (FoldsTheBatch(), "reshape: "),
        (Branches(), "Branches: its forward cannot be traced: "),
    ],
)
def test_unknown_layers_are_named(module, words):
    with pytest.raises(NotImplementedError) as caught:
        onnx_graph(module.eval(), (3, 8, 8))
    assert str(caught.value).startswith(words)


class Calls(nn.Module):
    """Functions and methods between layers."""

    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.randn(3, 1, 1))

    def forward(self, x):
        y = (x - 1) * 2 / (self.offset.abs() + 1)
        first, rest = torch.split(y, [1, 2], 1)
        halves = y.chunk(2, dim=1)
        y = torch.cat([rest, first, first * rest, halves[1], halves[0]], 1)
        return y.flatten(2).transpose(1, 2)[:, 3:].mean(1) + y.mean((2, 3)).contiguous().view(x.shape[0], -1)


def test_calls_between_layers():
    torch.manual_seed(0)
    assert_same(Calls().eval(), (3, 5, 5))


def test_a_layer_alone_is_a_module():
    torch.manual_seed(0)
    assert_same(scramble(nn.Conv2d(3, 4, 3)), (3, 8, 8))


def test_a_batch_norm_that_follows_no_convolution():
    """It was refused. Its scale and shift are those of a depthwise convolution."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), BatchNormAct2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.act(self.norm(y) + y)

    assert_same(scramble(Shared()), (3, 5, 5))


@pytest.mark.parametrize("pool_type", ["avg", "fast", "fastavg"])
@pytest.mark.parametrize("flatten", [False, True])
def test_pools_flatten_where_timm_s_do(pool_type, flatten):
    pool = SelectAdaptivePool2d(pool_type=pool_type, flatten=flatten)
    assert_same(nn.Sequential(pool, *([nn.Linear(4, 3)] if flatten else [])).eval(), (4, 5, 5))


def test_other_pools_are_refused():
    with pytest.raises(NotImplementedError, match=r"^0: .* 'max'"):
        onnx_graph(nn.Sequential(SelectAdaptivePool2d(pool_type="max")).eval(), (4, 5, 5))
