"""Where timm's ConvNeXt is cut: a stage's downsampling belongs to its first block."""

from __future__ import annotations

from torch import nn

from ofa.supernet.derived.cut import Cut


def cut(model: nn.Module) -> Cut:
    stages = []
    for stage in model.stages:
        first, *others = stage.blocks
        stages.append([nn.Sequential(stage.downsample, first), *others])
    containers = [f"stages.{number}.blocks" for number in range(len(model.stages))]
    return Cut(model.stem, stages, nn.Sequential(model.norm_pre, model.head), containers)
