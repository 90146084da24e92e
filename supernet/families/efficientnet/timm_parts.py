"""Where timm's EfficientNet and MobileNetV3 are cut: a stage is a sequence of ``model.blocks``."""

from __future__ import annotations

from torch import nn

from ofa.supernet.derived.cut import Cut

# What follows the blocks, in the order of either class's forward pass.
_HEADS = {
    "EfficientNet": ("conv_head", "bn2", "global_pool", "classifier"),
    "MobileNetV3": ("global_pool", "conv_head", "norm_head", "act2", "flatten", "classifier"),
}


def cut(model: nn.Module) -> Cut:
    head = nn.Sequential(*(getattr(model, name) for name in _HEADS[type(model).__name__]))
    containers = [f"blocks.{number}" for number in range(len(model.blocks))]
    return Cut(nn.Sequential(model.conv_stem, model.bn1), [list(stage) for stage in model.blocks], head, containers)
