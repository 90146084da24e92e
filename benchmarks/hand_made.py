"""Networks that an engineer would pick by hand for images of 32 pixels: scaled by width or by depth.

As is customary for such small images, their first convolutions have stride 1. All are plain timm models.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from timm.models import EfficientNet, MobileNetV3, ResNet
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.resnet import BasicBlock
from torch import nn

# Strides are MobileNetV2's (https://arxiv.org/abs/1801.04381, table 2), but for the second stage's: 1 instead of 2.
_MOBILENETV2 = [
    ["ds_r1_k3_s1_c16"],
    ["ir_r2_k3_s1_e6_c24"],
    ["ir_r3_k3_s2_e6_c32"],
    ["ir_r4_k3_s2_e6_c64"],
    ["ir_r3_k3_s1_e6_c96"],
    ["ir_r3_k3_s2_e6_c160"],
    ["ir_r1_k3_s1_e6_c320"],
]
# MobileNetV3-Small (https://arxiv.org/abs/1905.02244, table 2), with stride 1 in the first stage as well.
_MOBILENETV3 = [
    ["ds_r1_k3_s1_e1_c16_se0.25_nre"],
    ["ir_r1_k3_s2_e4.5_c24_nre", "ir_r1_k3_s1_e3.67_c24_nre"],
    ["ir_r1_k5_s2_e4_c40_se0.25", "ir_r2_k5_s1_e6_c40_se0.25"],
    ["ir_r2_k5_s1_e3_c48_se0.25"],
    ["ir_r3_k5_s2_e6_c96_se0.25"],
    ["cn_r1_k1_s1_c576"],
]


def mobilenetv2(width: float, *, num_classes: int, in_chans: int) -> nn.Module:
    """MobileNetV2 with ``width`` times its channels."""
    model = EfficientNet(
        block_args=decode_arch_def(_MOBILENETV2),
        num_features=max(640, round_channels(1280, width)),
        stem_size=32,
        round_chs_fn=partial(round_channels, multiplier=width),
        act_layer=nn.ReLU6,
        num_classes=num_classes,
        in_chans=in_chans,
    )
    return _of_small_images(model)


def mobilenetv3(width: float, *, num_classes: int, in_chans: int) -> nn.Module:
    """MobileNetV3-Small with ``width`` times its channels."""
    model = MobileNetV3(
        block_args=decode_arch_def(_MOBILENETV3),
        num_features=1024,
        stem_size=16,
        round_chs_fn=partial(round_channels, multiplier=width),
        act_layer=nn.Hardswish,
        num_classes=num_classes,
        in_chans=in_chans,
    )
    return _of_small_images(model)


def resnet(depth: int, *, num_classes: int, in_chans: int) -> nn.Module:
    """ResNet of ``depth`` layers for CIFAR (https://arxiv.org/abs/1512.03385, section 4.2); 6 n + 2 of them."""
    blocks = (depth - 2) // 6
    model = ResNet(
        BasicBlock, [blocks] * 3, channels=(16, 32, 64), stem_width=16, num_classes=num_classes, in_chans=in_chans
    )
    model.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
    model.bn1, model.maxpool, model.layer4 = nn.BatchNorm2d(16), nn.Identity(), nn.Identity()
    model.layer1[0].conv1 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    model.layer1[0].downsample = None
    for module in (model.conv1, model.layer1[0].conv1):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def _of_small_images(model: nn.Module) -> nn.Module:
    model.conv_stem.stride = (1, 1)
    with torch.no_grad():
        model.classifier.reset_parameters()  # timm draws it for a thousand classes
    return model


HAND_MADE: dict[str, Callable[..., nn.Module]] = {
    **{f"MobileNetV2 x{width:g}": partial(mobilenetv2, width) for width in (0.2, 0.35, 0.5, 0.65)},
    **{f"MobileNetV3-Small x{width:g}": partial(mobilenetv3, width) for width in (0.5, 0.75, 1.0, 1.5)},
    **{f"ResNet-{depth}": partial(resnet, depth) for depth in (8, 14, 20)},
}


@torch.no_grad()
def macs_of(model: nn.Module, *, side: int, in_chans: int) -> float:
    """Multiply-accumulates of one image, of convolutions and linear layers."""
    counts = []

    def count(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        weights = module.weight[0].numel()
        counts.append(weights * output[0].numel())

    handles = [
        module.register_forward_hook(count) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    model.eval()(torch.zeros(1, in_chans, side, side, device=next(model.parameters()).device))
    for handle in handles:
        handle.remove()
    return float(sum(counts))
