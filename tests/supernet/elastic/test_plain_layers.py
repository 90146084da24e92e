"""An elastic layer or model, cut to some widths, is the plain one that timm or torch builds with these widths."""

import copy
from functools import partial

import pytest
import timm.layers
import torch
from timm.layers import BatchNormAct2d, Conv2dSame, LayerScale2d
from timm.layers.grn import GlobalResponseNorm
from timm.models import EfficientNet, MobileNetV3, ResNet, VisionTransformer
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.convnext import ConvNeXt
from timm.models.deit import VisionTransformerDistilled
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.vision_transformer import Attention, LayerScale
from torch import nn

from ofa.supernet.elastic.leaves import (
    HOLDERS,
    KINDS,
    can_be_elastic,
    can_choose_kernel,
    make_leaf_elastic,
    plain_attributes,
)
from ofa.supernet.elastic.stage import make_optional, make_stage_elastic
from ofa.supernet.extract import extract_state


def depthwise(conv, channels, kernel, **options):
    return conv(channels, channels, kernel, groups=channels, **options)


IMAGE, TOKENS = (2, -1, 9, 9), (2, 7, -1)  # -1: channels
LAYERS = {
    # name: (builder, arguments of the large and of the small layer, channels that each reads, input's shape)
    "1x1": (nn.Conv2d, (12, 16, 1), (7, 5, 1), (12, 7), IMAGE),
    "fewer outputs": (partial(nn.Conv2d, stride=2, padding=1), (12, 16, 3), (12, 5, 3), (12, 12), IMAGE),
    "fewer inputs": (partial(nn.Conv2d, padding=1, bias=False), (12, 16, 3), (7, 16, 3), (12, 7), IMAGE),
    "SAME": (partial(Conv2dSame, stride=2, bias=False), (12, 16, 3), (7, 5, 3), (12, 7), IMAGE),
    "depthwise": (partial(depthwise, nn.Conv2d, padding=3), (12, 7), (7, 7), (12, 7), IMAGE),
    "depthwise, odd padding": (partial(depthwise, nn.Conv2d, stride=2), (12, 4), (7, 4), (12, 7), IMAGE),
    "depthwise, dilated": (
        partial(depthwise, nn.Conv2d, padding=2, dilation=2, bias=False),
        (12, 3),
        (7, 3),
        (12, 7),
        IMAGE,
    ),
    "depthwise SAME": (partial(depthwise, Conv2dSame, stride=2), (12, 5), (7, 5), (12, 7), IMAGE),
    "linear": (nn.Linear, (12, 16), (7, 5), (12, 7), TOKENS),
    "linear without bias": (partial(nn.Linear, bias=False), (12, 16), (7, 16), (12, 7), TOKENS),
    "batch norm": (nn.BatchNorm2d, (12,), (7,), (12, 7), IMAGE),
    "batch norm, activation": (partial(BatchNormAct2d, act_layer=nn.SiLU), (12,), (7,), (12, 7), IMAGE),
    "layer norm": (nn.LayerNorm, (12,), (7,), (12, 7), TOKENS),
    "GRN": (GlobalResponseNorm, (12,), (7,), (12, 7), (2, 4, 5, -1)),
    "GRN of images": (partial(GlobalResponseNorm, channels_last=False), (12,), (7,), (12, 7), IMAGE),
    "blur": (timm.layers.BlurPool2d, (12,), (7,), (12, 7), IMAGE),
    "scale": (LayerScale, (12,), (7,), (12, 7), TOKENS),
    "scale of images": (LayerScale2d, (12,), (7,), (12, 7), IMAGE),
    **{
        name: (getattr(timm.layers, name), (12,), (7,), (12, 7), IMAGE if name.endswith("2d") else TOKENS)
        for name in (
            *("LayerNorm", "LayerNorm2d", "LayerNormAct", "LayerNormAct2d"),
            *("RmsNorm", "RmsNorm2d", "SimpleNorm", "SimpleNorm2d"),
        )
    },
}


def attention(width, heads, **options):
    return Attention(width, num_heads=heads, attn_head_dim=8, qkv_bias=True, norm_layer=nn.LayerNorm, **options)


def unfused_attention(width, heads):
    module = attention(width, heads)
    module.fused_attn = False
    return module


def transformer(cls, width, heads, depth, ratio, **options):
    return cls(
        img_size=32,
        patch_size=8,
        num_classes=5,
        embed_dim=width,
        num_heads=heads,
        depth=depth,
        mlp_ratio=ratio,
        **options,
    )


def convnext(depths, dims, **options):
    return ConvNeXt(num_classes=5, patch_size=2, depths=depths, dims=dims, **options)


def resnet(block, layers, channels, **options):
    return ResNet(block, layers, num_classes=5, channels=channels, **options)


def mobile(cls, *stages, **options):
    return cls(decode_arch_def([[stage] for stage in stages]), num_classes=5, stem_size=16, fix_stem=True, **options)


def mobile_v3(*stages, **options):
    return mobile(MobileNetV3, *stages, num_features=24, act_layer=nn.ReLU, **options)


MODELS = {
    # name: (builder, arguments of the large and of the small model)
    "attention": (attention, (24, 3), (16, 2)),
    "attention, not fused": (unfused_attention, (24, 3), (24, 1)),
    "attention, wide": (partial(attention, qk_norm=True, scale_norm=True), (24, 4), (8, 3)),
    "ViT": (partial(transformer, VisionTransformer), (48, 3, 3, 4), (32, 2, 2, 2)),
    "ViT of any size": (
        partial(transformer, VisionTransformer, dynamic_img_size=True, init_values=0.1),
        (48, 3, 2, 4),
        (32, 2, 2, 2),
    ),
    "ViT, registers": (
        partial(transformer, VisionTransformer, reg_tokens=2, no_embed_class=True, qk_norm=True, pre_norm=True),
        (48, 3, 2, 4),
        (16, 1, 1, 4),
    ),
    "ViT, average": (
        partial(transformer, VisionTransformer, class_token=False, global_pool="avg", scale_attn_norm=True),
        (48, 3, 2, 4),
        (32, 2, 1, 3),
    ),
    "DeiT": (partial(transformer, VisionTransformerDistilled), (48, 3, 3, 4), (32, 2, 2, 2)),
    "ConvNeXt": (convnext, ((1, 2, 2, 1), (16, 24, 32, 40)), ((1, 1, 2, 1), (8, 20, 32, 24))),
    "ConvNeXt, hidden layer": (
        partial(convnext, head_hidden_size=20, norm_layer="rmsnorm"),
        ((1, 2, 1, 1), (16, 24, 32, 40)),
        ((1, 1, 1, 1), (16, 8, 24, 40)),
    ),
    "ConvNeXt V2": (
        partial(convnext, use_grn=True, ls_init_value=None, conv_mlp=True, head_norm_first=True),
        ((1, 2, 1, 1), (16, 24, 32, 40)),
        ((1, 1, 1, 1), (8, 24, 16, 32)),
    ),
    "ResNet": (partial(resnet, BasicBlock), ((2, 2, 1, 1), (16, 32, 32, 40)), ((1, 2, 1, 1), (8, 24, 32, 32))),
    "ResNet-D, squeezed": (
        partial(resnet, Bottleneck, stem_width=8, stem_type="deep", avg_down=True, block_args={"attn_layer": "se"}),
        ((2, 1, 1, 1), (16, 32, 40, 48)),
        ((1, 1, 1, 1), (8, 24, 32, 40)),
    ),
    "ResNet, ECA": (
        partial(resnet, BasicBlock, block_args={"attn_layer": "eca"}),
        ((2, 1, 1, 1), (16, 32, 32, 40)),
        ((2, 1, 1, 1), (8, 24, 32, 32)),
    ),
    "EfficientNet": (
        partial(mobile, EfficientNet, num_features=24, se_layer=partial(timm.layers.SEModule, rd_divisor=1)),
        ("ds_r1_k3_s1_e1_c16_se0.25", "ir_r2_k5_s2_e4_c24_se0.25", "er_r1_k3_s2_e4_c32"),
        ("ds_r1_k3_s1_e1_c16_se0.25", "ir_r1_k5_s2_e3_c16_se0.25", "er_r1_k3_s2_e2_c24"),
    ),
    "MobileNetV3, SAME": (
        partial(mobile_v3, pad_type="same"),
        ("ds_r1_k3_s1_e1_c16_nre", "ir_r2_k5_s2_e4_c24", "ir_r1_k7_s2_e3_c32"),
        ("ds_r1_k3_s1_e1_c16_nre", "ir_r1_k3_s2_e3_c24", "ir_r1_k5_s2_e2_c24"),
    ),
    "MobileNetV4": (
        mobile_v3,
        ("ds_r1_k3_s1_e1_c16", "uir_r1_a3_k5_s2_e4_c24", "uir_r2_a5_k5_s1_e4_c24"),
        ("ds_r1_k3_s1_e1_c16", "uir_r1_a3_k3_s2_e2_c24", "uir_r1_a0_k0_s1_e3_c24"),
    ),
}


@torch.no_grad()
def scrambled(model):
    """Every tensor random, so that none is without effect."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
            if name.endswith(("running_var", "weight")) and tensor.ndim == 1:
                tensor.abs_().add_(0.5)
    return model.eval().to(memory_format=torch.channels_last)


def make_elastic(model):
    for module in list(model.modules()):
        if can_choose_kernel(module) and module.kernel_size[0] > 3:
            make_leaf_elastic(module, kernels=tuple(range(3, module.kernel_size[0] + 1, 2)))
        elif can_be_elastic(module):
            make_leaf_elastic(module)
        elif type(module) is nn.Sequential:
            make_stage_elastic(module)
        elif type(module) is timm.layers.ConvNormAct and module.conv.groups > 1 and module.conv.stride == (1, 1):
            make_optional(module)


def activate_like(elastic, plain):
    """Runs the elastic model with the choices that a plain model was built with."""
    theirs = dict(plain.named_modules())
    for name, module in elastic.named_modules():
        other = theirs.get(name)
        if hasattr(module, "active_heads"):
            module.active_heads = other.num_heads if other else 1
        elif hasattr(module, "active") and other is not None:
            module.active = not isinstance(other, nn.Identity)
    for name, other in theirs.items():
        module = elastic.get_submodule(name)
        if hasattr(module, "active_out"):
            module.active_out = other.out_channels if isinstance(other, nn.Conv2d) else other.out_features
        elif hasattr(module, "active_kernel"):
            module.active_kernel = other.kernel_size[0]
        elif hasattr(module, "active_depth"):
            module.active_depth = len(other)


def facts(module):
    """The numbers that a plain layer keeps besides its tensors."""
    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and isinstance(value, int | float | str | tuple)
    }


def chosen(module):
    """What ``plain_attributes`` is asked for a plain layer to become."""
    if isinstance(module, nn.Conv2d):
        return {"out": module.out_channels, "inp": module.in_channels, "kernel": module.kernel_size[0]}
    if isinstance(module, nn.Linear):
        return {"out": module.out_features, "inp": module.in_features}
    if isinstance(module, Attention):
        return {"out": module.num_heads, "inp": 0}
    if type(module) in HOLDERS:
        return {"out": getattr(module, "num_features", module.in_features), "inp": module.in_features}
    if isinstance(module, VisionTransformer):
        return {"out": module.embed_dim, "inp": 3}
    width = len(next(iter((*module.parameters(), *module.buffers()))))
    return {"out": width, "inp": width}


def check(large, small, x_large, x_small):
    large, small = scrambled(large), scrambled(small)
    elastic = copy.deepcopy(large)
    make_elastic(elastic)
    scrambled(elastic)
    assert [key for key in elastic.state_dict() if ".transforms." not in f".{key}"] == list(large.state_dict())
    large.load_state_dict(extract_state(elastic, large))
    with torch.no_grad():
        for memory_format in (torch.channels_last, torch.contiguous_format)[: max(1, x_large.ndim - 2)]:
            given = x_large.contiguous(memory_format=memory_format) if x_large.ndim == 4 else x_large
            assert torch.equal(elastic(given.clone()), large(given.clone()))

    # Cut to the widths of the small one, by shapes alone, and by attributes alone.
    activate_like(elastic, small)
    small.load_state_dict(extract_state(elastic, small))
    small.to(memory_format=torch.channels_last)
    for name, module in small.named_modules():
        if type(module) in (*KINDS, *HOLDERS):
            wanted = chosen(module)
            for other in (large.get_submodule(name), elastic.get_submodule(name)):
                same = facts(large.get_submodule(name)) | plain_attributes(other, **wanted)
                assert same == facts(module), name
    given = x_small.contiguous(memory_format=torch.channels_last) if x_small.ndim == 4 else x_small
    mine, theirs = elastic(given.clone()), small(given.clone())
    assert torch.equal(mine, theirs) and mine.std() > 1e-3

    # The gradient is the plain one's, and zero outside.
    if not mine.requires_grad:
        return
    mine.square().sum().backward()
    theirs.square().sum().backward()
    if any(getattr(leaf, "active_kernel", 0) < max(getattr(leaf, "kernels", (0,))) for leaf in elastic.modules()):
        return  # the gradient of a transformed kernel is another test's
    gradients = copy.deepcopy(elastic)
    with torch.no_grad():
        for name, parameter in elastic.named_parameters():
            gradients.get_parameter(name).copy_(torch.zeros(()) if parameter.grad is None else parameter.grad)
    inside = extract_state(gradients, small)
    for name, parameter in small.named_parameters():
        torch.testing.assert_close(
            inside[name], parameter.grad, rtol=1e-3, atol=1e-4 * float(parameter.grad.abs().max())
        )
        assert gradients.get_parameter(name).count_nonzero() == inside[name].count_nonzero(), name


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    builder, large, small, widths, shape = LAYERS[name]
    torch.manual_seed(0)
    inputs = [torch.randn([width if size == -1 else size for size in shape]) for width in widths]
    check(builder(*large), builder(*small), *inputs)


newer_attention = pytest.mark.skipif(
    not hasattr(Attention(8, num_heads=2), "attn_dim"), reason="this timm's attention is as wide as its input"
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=newer_attention if name.startswith(("att", "ViT", "DeiT")) else ()) for name in MODELS],
)
def test_models(name):
    builder, large, small = MODELS[name]
    large, small = builder(*large), builder(*small)
    torch.manual_seed(0)
    if name.startswith("attention"):
        inputs = [torch.randn(2, 7, model.qkv.in_features) for model in (large, small)]
    else:
        size = 48 if name == "ViT of any size" else 32
        inputs = [torch.randn(2, 3, size, size)] * 2
    check(large, small, *inputs)


@newer_attention
def test_the_first_heads_are_kept_and_stay_what_they_are():
    large = scrambled(attention(24, 3, gated=True))
    elastic = copy.deepcopy(large)
    make_elastic(elastic)
    elastic.active_heads = 2
    with torch.no_grad():
        large.proj.weight[:, 2 * large.head_dim :] = 0  # the last head is not heard
        x = torch.randn(2, 7, 24)
        torch.testing.assert_close(elastic(x), large(x))
