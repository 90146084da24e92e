"""How the published OFA checkpoints of MobileNetV3 name their modules (https://arxiv.org/abs/1908.09791)."""

from __future__ import annotations

from ofa.supernet.families.mobilenetv3.space import Space

# A block's modules: the checkpoint's name, and timm's.
_SEPARABLE = {
    "depth_conv.conv": "conv_dw",
    "depth_conv.bn": "bn1",
    "point_linear.conv": "conv_pw",
    "point_linear.bn": "bn2",
}
_INVERTED = {
    "inverted_bottleneck.conv": "conv_pw",
    "inverted_bottleneck.bn": "bn1",
    "depth_conv.conv": "conv_dw",
    "depth_conv.bn": "bn2",
    "point_linear.conv": "conv_pwl",
    "point_linear.bn": "bn3",
}
_SQUEEZE_EXCITE = {"depth_conv.se.fc.reduce": "se.conv_reduce", "depth_conv.se.fc.expand": "se.conv_expand"}


def modules(space: Space) -> dict[str, str]:
    """Each module of the checkpoint with weights, to timm's name of it; see ``import_ofa`` on the former."""
    names = {"first_conv.conv": "conv_stem", "first_conv.bn": "bn1"}
    names |= {f"blocks.0.conv.{theirs}": f"blocks.0.0.{own}" for theirs, own in _SEPARABLE.items()}
    for number, block in enumerate(space.blocks, start=1):
        inside = _INVERTED | (_SQUEEZE_EXCITE if space.stages[block.stage].se else {})
        own_block = f"blocks.{1 + block.stage}.{block.index}"
        names |= {f"blocks.{number}.conv.{theirs}": f"{own_block}.{own}" for theirs, own in inside.items()}
    last = f"blocks.{1 + len(space.stages)}.0"
    return names | {
        "final_expand_layer.conv": f"{last}.conv",
        "final_expand_layer.bn": f"{last}.bn1",
        "feature_mix_layer.conv": "conv_head",
        "classifier.linear": "classifier",
    }
