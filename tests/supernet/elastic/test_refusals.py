"""Which layers can be elastic, and what is said of the others."""

import pytest
import torch
from timm.layers import Conv2dSame, ConvNormAct, GroupNorm, LayerNorm2d, StdConv2d
from timm.models.vision_transformer import Attention
from torch import nn

from ofa.supernet.elastic.leaves import can_be_elastic, can_choose_kernel, make_leaf_elastic, why_fixed
from ofa.supernet.elastic.stage import make_optional, make_stage_elastic


class OwnConv(nn.Conv2d):
    """Its forward may do anything."""


def attention_of_an_older_timm():
    attention = Attention(8, num_heads=2)
    vars(attention).pop("attn_dim", None)
    return attention


@pytest.mark.parametrize(
    "leaf, words",
    [
        (nn.Conv2d(8, 8, 3, groups=4), "one group"),
        (nn.Conv2d(4, 8, 3, groups=4), "one group"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "one group"),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect"), "depthwise nn.Conv2d"),
        (OwnConv(4, 4, 3), "OwnConv is not known"),
        (StdConv2d(4, 4, 3), "StdConv2d is not known"),
        (GroupNorm(4, 2), "GroupNorm is not known"),
        (nn.BatchNorm2d(4, affine=False), "weights and running statistics"),
        (nn.BatchNorm2d(4, track_running_stats=False), "weights and running statistics"),
        (nn.LayerNorm((4, 4)), "one weight a channel"),
        (LayerNorm2d(4, affine=False), "one weight a channel"),
        (attention_of_an_older_timm(), "newer timm"),
    ],
)
def test_others_stay_as_they_are(leaf, words):
    plain = type(leaf)
    assert not can_be_elastic(leaf) and words in why_fixed(leaf)
    with pytest.raises(TypeError, match=f"cannot make {plain.__name__} elastic: .*{words}"):
        make_leaf_elastic(leaf)
    assert type(leaf) is plain


def test_elastic_layers_are_not_made_elastic_again():
    leaf = nn.Conv2d(4, 4, 1)
    make_leaf_elastic(leaf)
    assert why_fixed(leaf) == "ElasticConv2d is not known"


@pytest.mark.parametrize(
    "leaf, can",
    [
        (nn.Conv2d(4, 4, 5, padding=2, groups=4), True),
        (nn.Conv2d(4, 4, 5, padding=4, dilation=2, groups=4), True),
        (nn.Conv2d(4, 4, 5, padding=2, dilation=2, groups=4), False),
        (nn.Conv2d(4, 4, (5, 3), padding=(2, 1), groups=4), False),
        (Conv2dSame(4, 4, 5, groups=4), True),
        (Conv2dSame(4, 4, 5), False),
        (nn.Conv2d(4, 4, 5, padding=2), True),
        (nn.Conv2d(4, 4, 5, 2, padding=2), True),
        (nn.Conv2d(4, 4, 5, padding=1), False),
        (nn.Conv2d(4, 4, 5, padding=4, dilation=2), False),
        (nn.Conv2d(4, 4, (5, 3), padding=(2, 1)), False),
        (nn.Conv2d(4, 4, 5, padding=2, groups=2), False),
        (nn.Conv2d(4, 4, 5, padding=2, padding_mode="reflect"), False),
        (nn.Linear(4, 4), False),
    ],
)
def test_only_padded_convolutions_choose_kernels(leaf, can):
    assert can_choose_kernel(leaf) == can
    if can:
        make_leaf_elastic(leaf, kernels=(3, 5))
        assert leaf.kernels == (5, 3) and "transforms.5to3" in leaf.state_dict()
    else:
        with pytest.raises(TypeError, match=r"cannot (choose kernels|make Conv2d elastic)"):
            make_leaf_elastic(leaf, kernels=(3, 5))


def test_a_layer_that_changes_the_shape_cannot_be_left_out():
    for layer in (ConvNormAct(4, 8, 1), ConvNormAct(4, 4, 3, stride=2)):
        with pytest.raises(TypeError, match="cannot leave out ConvNormAct: its output must have the shape"):
            make_optional(layer)
    with pytest.raises(TypeError, match="cannot leave out Conv2d: timm's ConvNormAct"):
        make_optional(nn.Conv2d(4, 4, 1))


def test_a_layer_can_be_left_out():
    layer = ConvNormAct(4, 4, 3).eval()
    x, keys = torch.randn(2, 4, 6, 6), list(layer.state_dict())
    expected = layer(x)
    make_optional(layer)
    assert torch.equal(layer(x), expected) and list(layer.state_dict()) == keys
    layer.active = False
    assert layer(x) is x


def test_whoever_looks_into_a_stage_sees_its_active_blocks():
    blocks = [nn.Linear(4, 4) for _ in range(4)]
    stage = nn.Sequential(*blocks)
    keys = list(stage.state_dict())
    make_stage_elastic(stage)
    stage.active_depth = 2
    assert list(stage) == blocks[:2] and len(stage) == 2 and list(stage[1:]) == blocks[1:2]
    assert stage[3] is blocks[3] and stage[-1] is blocks[3]
    assert list(stage.state_dict()) == keys and list(stage.children()) == blocks
    assert not any(block.training for block in stage.eval().children())
