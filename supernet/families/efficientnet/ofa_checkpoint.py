"""The names of layers in the published OFA checkpoint of ProxylessNAS."""

from __future__ import annotations

from ofa.supernet.families._mobile_checkpoint import mobile_layers
from ofa.supernet.families.efficientnet.space import Space


def layers(space: Space) -> dict[str, str]:
    """Each layer of the checkpoint with weights, the stem first, to timm's name of it; see ``import_ofa``."""
    blocks = [(f"blocks.{block.stage}.{block.index}", False) for block in space.blocks[1:]]
    return mobile_layers(blocks) | {
        "feature_mix_layer.conv": "conv_head",
        "feature_mix_layer.bn": "bn2",
        "classifier.linear": "classifier",
    }
