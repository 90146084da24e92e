"""Where timm's ResNet is cut: a stage is one of its layers."""

from __future__ import annotations

from timm.models import resnet
from torch import nn

from ofa.supernet.derived.cut import Cut


def cut(model: nn.Module) -> Cut:
    stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    containers = [f"layer{number}" for number in range(1, 5)]
    stages = [list(getattr(model, name)) for name in containers]
    return Cut(stem, stages, nn.Sequential(model.global_pool, model.fc), containers)


# Arguments of the class as JSON values: a block by its name.
DECODERS = {"block": {"BasicBlock": resnet.BasicBlock, "Bottleneck": resnet.Bottleneck}.__getitem__}
