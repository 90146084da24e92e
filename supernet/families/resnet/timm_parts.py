"""Where timm's ResNet is cut: a stage is one of its layers."""

from __future__ import annotations

from timm.models import resnet
from torch import nn

from ofa.supernet.derived.cut import Cut


def cut(model: nn.Module) -> Cut:
    """A residual convolution in the stem (``derived.base``) is a stage of its own, and so is what follows it there."""
    containers = [f"layer{number}" for number in range(1, 5)]
    stages = [list(getattr(model, name)) for name in containers]
    head = nn.Sequential(model.global_pool, model.fc)
    stem = [model.conv1, model.bn1, model.act1, model.maxpool]
    layers = dict(model.conv1.named_children())
    residual = next((name for name, layer in layers.items() if isinstance(layer, nn.Sequential)), None)
    if residual is not None:
        before = [layer for name, layer in layers.items() if int(name) < int(residual)]
        after = [layer for name, layer in layers.items() if int(name) > int(residual)]
        stages = [list(layers[residual]), [nn.Sequential(*after, *stem[1:])], *stages]
        containers = [f"conv1.{residual}", "act1", *containers]  # timm finds the stem's feature map by act1
        stem = before
    return Cut(nn.Sequential(*stem), stages, head, containers)


# Arguments of the class as JSON values: a block by its name.
DECODERS = {"block": {"BasicBlock": resnet.BasicBlock, "Bottleneck": resnet.Bottleneck}.__getitem__}
