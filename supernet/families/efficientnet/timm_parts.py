"""Where timm's EfficientNet and MobileNetV3 are cut: a stage is a sequence of ``model.blocks``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def with_blocks(arguments: Mapping[str, Any], blocks: Mapping[tuple[int, int], str]) -> dict[str, Any]:
    """The arguments of the model in which each of ``blocks``, by stage and place in it, stands for the one there.

    They are strings as ``decode_arch_def`` reads them. Raises ``ValueError`` for one that it does not know, and where
    the arguments do not have the blocks.
    """
    if "block_args" not in arguments:
        raise ValueError("kinds: another block needs the argument block_args, which says all blocks of the model")
    stages = [_single_blocks(strings) for strings in arguments["block_args"]]
    for (stage, index), block in blocks.items():
        try:
            decode_arch_def([[block]])
        except Exception as error:  # timm raises what it likes on blocks that it does not know
            raise ValueError(f"kinds: timm does not know the block {block!r} ({error!r})") from error
        stages[stage][index] = block
    return {**arguments, "block_args": stages}


def _single_blocks(strings: Sequence[str]) -> list[str]:
    """The blocks of a stage, each by a string of its own. Only a stage's first one has a stride, as timm reads it."""
    single = []
    for string in strings:
        options = string.split("_")
        repeats = next(option for option in options if option[0] == "r" and option[1:].isdigit())
        single += ["_".join("r1" if option == repeats else option for option in options)] * int(repeats[1:])
    return single


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
