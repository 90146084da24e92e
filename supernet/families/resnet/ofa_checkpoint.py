"""The names of layers in the published OFA checkpoint of ResNet-50."""

from __future__ import annotations

from ofa.supernet.families.resnet.space import Space

_STEM = {
    "input_stem.0.conv": "conv1.0",
    "input_stem.0.bn": "conv1.1",
    "input_stem.1.conv": "conv1.3.0.conv",
    "input_stem.1.conv.bn": "conv1.3.0.bn1",
    "input_stem.2.conv": "conv1.6",
    "input_stem.2.bn": "bn1",
}


def layers(space: Space) -> dict[str, str]:
    """Each layer of the checkpoint with weights, the stem first, to timm's name of it; see ``import_ofa``."""
    names, places = dict(_STEM), [block for block in space.blocks if block.stage >= 2]  # two stages are of the stem
    for number, block in enumerate(places):
        theirs, own = f"blocks.{number}", f"layer{block.stage - 1}.{block.index}"
        for conv in (1, 2, 3):
            names |= {f"{theirs}.conv{conv}.conv": f"{own}.conv{conv}", f"{theirs}.conv{conv}.bn": f"{own}.bn{conv}"}
        if block.index == 0:
            names |= {
                f"{theirs}.downsample.conv": f"{own}.downsample.1",
                f"{theirs}.downsample.bn": f"{own}.downsample.2",
            }
    return names | {"classifier.linear": "fc"}
