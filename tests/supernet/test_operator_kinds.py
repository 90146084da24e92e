"""Kinds of operators beside those of MobileNets, by hand: their folds are what torch counts of timm's modules."""

import numpy as np
import pytest
import timm
import torch
from timm.layers import BlurPool2d
from timm.models.convnext import ConvNeXtBlock
from timm.models.resnet import Bottleneck
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ofa.supernet.operators import Builder, Operator, Operators, biases, macs, params, peak_activation, weights


def counted(module, channels, side):
    """What torch counts: multiply-accumulates, and parameters."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(1, channels, side, side))
    return counter.get_total_flops() // 2, sum(parameter.numel() for parameter in module.parameters())


def vit(*, width, depth, heads, patch, tokens, image, classes):
    """Class token, registers, norms of queries and keys, layer scales; the position embedding is of ``image``."""
    made = Builder(3)
    x = made.add(Operator("conv", (0,), width, patch, patch, bias=True))
    embedded = (image // patch) ** 2 + tokens
    x = made.add(Operator("prepend", (x,), width, tokens=tokens, extra_params=tokens * width))
    x = made.add(Operator("add", (x,), width, extra_params=embedded * width))

    def norm(x, groups=1):
        return made.add(Operator("layer_norm", (x,), width, groups=groups, bias=True))

    def linear(x, channels, act=""):
        return made.add(Operator("linear", (x,), channels, bias=True, act=act))

    for _ in range(depth):
        qkv = linear(norm(x), 3 * width)
        q, k = norm(qkv, heads), norm(qkv, heads)
        attention = made.add(Operator("matmul", (q, k), width, groups=heads))
        attention = made.add(Operator("softmax", (attention,), heads))
        y = linear(made.add(Operator("matmul", (attention, qkv), width, groups=heads)), width)
        x = made.add(Operator("add", (made.add(Operator("scale", (y,), width)), x), width))
        y = linear(linear(norm(x), 4 * width, act="gelu"), width)
        x = made.add(Operator("add", (made.add(Operator("scale", (y,), width)), x), width))
    linear(made.add(Operator("select", (norm(x),), width)), classes)
    return made.done()


@pytest.mark.parametrize("side", [16, 24])
def test_a_vision_transformer(side):
    model = timm.create_model(
        "vit_tiny_patch16_224",
        **{"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5},
        **{"init_values": 1e-5, "qk_norm": True, "reg_tokens": 2, "dynamic_img_size": True},
    )
    for block in model.blocks:
        block.attn.fused_attn = False  # torch counts no fused attention on a CPU
    part = vit(width=48, depth=2, heads=3, patch=4, tokens=3, image=16, classes=5)
    assert (macs(part, side), params(part)) == counted(model, 3, side)
    positions = (side // 4) ** 2 + 3
    assert [shape.positions for shape in part.shapes(side)[1:3]] == [positions - 3, positions]
    # Queries and keys make one weight a head for each pair of positions; the values and the shortcut wait.
    pair_sizes = [shape.size for shape in part.shapes(side) if shape.pairs]
    assert pair_sizes == [3 * positions**2] * 4
    assert peak_activation(part, side) >= 2 * pair_sizes[0] + 4 * 48 * positions


def test_a_block_between_tokens_reads_them():
    block = Operators(8, (Operator("linear", (0,), 8, bias=True),), in_tokens=2)
    assert macs(block, 3) == 64 * (9 + 2) and block.shapes(3)[-1] == (8, 3, 2, False)
    assert macs(Builder(8, in_tokens=2).done(), 3) == 0 and Builder(8, in_tokens=2).done().shapes(3)[0].positions == 11


@pytest.mark.parametrize("grn", [False, True])
def test_a_convnext_block(grn):
    block = ConvNeXtBlock(16, kernel_size=7, use_grn=grn, ls_init_value=None if grn else 1e-6)
    made = Builder(16)
    x = made.add(Operator("depthwise", (0,), 16, 7, 1, 16, 3, bias=True))
    x = made.add(Operator("layer_norm", (x,), 16, bias=True))
    x = made.add(Operator("linear", (x,), 64, bias=True, act="gelu"))
    if grn:
        x = made.add(Operator("layer_norm", (x,), 64, bias=True))
    x = made.add(Operator("linear", (x,), 16, bias=True))
    x = x if grn else made.add(Operator("scale", (x,), 16))
    made.add(Operator("add", (x, 0), 16))
    part = made.done()
    assert (macs(part, 9), params(part)) == counted(block, 16, 9)
    assert weights(part) + biases(part) == params(part)  # nothing is folded


def test_a_resnet_block_of_many_kinds():
    """Groups, efficient channel attention, a blurred stride, and a shortcut through an average pool."""
    shortcut = nn.Sequential(
        nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
        nn.Conv2d(16, 32, 1, bias=False),
        nn.BatchNorm2d(32),
    )
    block = Bottleneck(
        16, 8, stride=2, downsample=shortcut, cardinality=4, base_width=32, attn_layer="eca", aa_layer=BlurPool2d
    )
    mid = block.conv2.out_channels
    made = Builder(16)
    x = made.conv(0, mid, act="relu")
    x = made.add(Operator("conv", (x,), mid, 3, 1, 4, 1, norm=True, act="relu"))
    x = made.conv(made.add(Operator("blur", (x,), mid, 3, 2, mid, 1)), 32)
    kernel = block.se.conv.kernel_size[0]
    gate = made.add(Operator("pool", (x,), 32))
    gate = made.add(Operator("channel_conv", (gate,), 32, kernel, act="sigmoid"))
    x = made.add(Operator("mul", (x, gate), 32))
    y = made.conv(made.add(Operator("avg_pool", (0,), 16, 2, 2, ceil=True)), 32)
    made.add(Operator("add", (x, y), 32, act="relu"))
    part = made.done()
    for side in (8, 9):
        blurred = mid * 9 * part.shapes(side)[-1].positions  # torch runs it as a convolution
        all_macs, all_params = counted(block, 16, side)
        assert (macs(part, side) + blurred, params(part)) == (all_macs, all_params)
        assert part.shapes(side)[-1][:2] == tuple(block(torch.zeros(2, 16, side, side)).shape[1:3])


@pytest.mark.parametrize("kernel, stride, padding", [(2, 2, 0), (3, 2, 1), (3, 2, 0), (2, 1, 0), (3, 3, 1), (4, 3, 2)])
@pytest.mark.parametrize("ceil", [False, True])
def test_sides_of_pools_are_those_of_torch(kernel, stride, padding, ceil):
    pool = nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil)
    sides = np.arange(kernel, 16)
    expected = [pool(torch.zeros(1, 1, side, side)).shape[-1] for side in sides]
    for kind in ("avg_pool", "max_pool"):
        part = Operators(1, (Operator(kind, (0,), 1, kernel, stride, padding=padding, ceil=ceil),))
        assert part.shapes(sides)[-1].side.tolist() == expected
        assert [part.shapes(int(side))[-1].side for side in sides] == expected


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_sides_of_blurs_are_those_of_timm(kernel, stride):
    blur = BlurPool2d(2, filt_size=kernel, stride=stride)
    padding = (stride - 1 + kernel - 1) // 2
    part = Operators(2, (Operator("blur", (0,), 2, kernel, stride, 2, padding),))
    assert weights(part) == params(part) == macs(part, 8) == 0
    for side in range(kernel, 12):
        assert part.shapes(side)[-1].side == blur(torch.zeros(1, 2, side, side)).shape[-1]
