"""Where timm's EfficientNet and MobileNetV3 are cut: a stage is a sequence of ``model.blocks``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import timm.layers
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
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


def _squeeze_excite(value: Mapping[str, Any]) -> Any:
    """Of ``{"rd_ratio": 0.25, "force_act_layer": "relu"}`` and such."""
    options = dict(value)
    if act := options.pop("force_act_layer", None):
        options["force_act_layer"] = timm.layers.get_act_layer(act)
    return partial(SqueezeExcite, rd_round_fn=round_channels, **options)


# Arguments of the classes as JSON values: blocks as ``decode_arch_def`` reads them.
DECODERS = {
    "block_args": decode_arch_def,
    "se_layer": _squeeze_excite,
    "round_chs_fn": {"int": int}.__getitem__,
}
