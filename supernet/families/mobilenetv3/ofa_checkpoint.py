"""The names of layers in the published OFA checkpoints of MobileNetV3."""

from __future__ import annotations

from ofa.supernet.families._mobile_checkpoint import mobile_layers
from ofa.supernet.families.mobilenetv3.space import Space


def layers(space: Space) -> dict[str, str]:
    """Each layer of the checkpoint with weights, the stem first, to timm's name of it; see ``import_ofa``."""
    blocks = [(f"blocks.{1 + block.stage}.{block.index}", space.stages[block.stage].se) for block in space.blocks]
    last = f"blocks.{1 + len(space.stages)}.0"
    return mobile_layers(blocks) | {
        "final_expand_layer.conv": f"{last}.conv",
        "final_expand_layer.bn": f"{last}.bn1",
        "feature_mix_layer.conv": "conv_head",
        "classifier.linear": "classifier",
    }
