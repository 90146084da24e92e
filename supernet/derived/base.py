"""Plain models as timm builds them: by a registered name, or by a class and its arguments as JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import timm
import timm.layers
import timm.models
import torch
from timm.models._efficientnet_blocks import ConvBnAct, SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from torch import nn

from ofa.supernet.without_init import WithoutInit

CLASSES = "timm.models."  # before the name of a class, where there is no registered name
IN_CHANS, NUM_CLASSES = 3, 1000  # of a network that is walked; the number of each is given when costs are counted


def build_base(timm_name: str, arguments: Mapping[str, Any], *, device: str | None = None) -> nn.Module:
    """The plain model ``timm.create_model(timm_name, **arguments)``; or of a class named ``timm.models.ResNet``.

    Arguments of a class are JSON values: ``block_args`` are strings as ``decode_arch_def`` takes them, ``act_layer``
    and ``norm_layer`` are timm's names. On the meta device nothing is initialised.

    One argument is not timm's: ``residual_convs``, such as ``{"conv1": 3}``, gives the convolution with this number in
    a sequence (its norm and activation come after it) a residual connection, as one of timm's own blocks has it. The
    block is alone in a sequence in its place, so that it may be left out.

    Raises ``ValueError`` for a name that timm does not know.
    """
    options = {**arguments, **({"device": device} if device else {})}
    if device == "meta":
        with WithoutInit():
            return _build(timm_name, options)
    return _build(timm_name, options)


def walked_base(timm_name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The plain model in eval mode on the meta device; remembered for those asked for last, so nobody may change it.

    It has ``NUM_CLASSES`` and reads ``IN_CHANS``, whatever is asked for in the end.
    """
    return _walked_base(timm_name, json.dumps(arguments, sort_keys=True))


@lru_cache(maxsize=8)
def _walked_base(timm_name: str, arguments: str) -> nn.Module:
    options = {**json.loads(arguments), "num_classes": NUM_CLASSES, "in_chans": IN_CHANS}
    return build_base(timm_name, options, device="meta").eval()


def _build(timm_name: str, arguments: dict[str, Any]) -> nn.Module:
    residual, device = arguments.pop("residual_convs", {}), arguments.get("device")
    model = _plain(timm_name, arguments)
    for path, index in residual.items():
        sequence = model.get_submodule(path)
        conv = sequence[index]
        with torch.device(device or "cpu"):
            block = ConvBnAct(conv.in_channels, conv.out_channels, conv.kernel_size[0], skip=True)
        sequence._modules[str(index)] = nn.Sequential(block)
        del sequence._modules[str(index + 1)], sequence._modules[str(index + 2)]
    return model


def _plain(timm_name: str, arguments: dict[str, Any]) -> nn.Module:
    if not timm_name.startswith(CLASSES):
        if not timm.is_model(timm_name):
            raise ValueError(f"timm {timm.__version__} has no model called {timm_name!r}")
        device = arguments.pop("device", None)
        with torch.device(device or "cpu"):
            return timm.create_model(timm_name, **arguments)
    return getattr(timm.models, timm_name.removeprefix(CLASSES))(
        **{key: _decoded(key, value) for key, value in arguments.items()}
    )


def _decoded(key: str, value: Any) -> Any:
    return _DECODERS[key](value) if key in _DECODERS else value


def _norm(value: Mapping[str, Any]) -> Any:
    """``{"name": "batchnorm2d", "eps": 0.001}``: timm's batch norm with its activation where the class wants one."""
    options = dict(value)
    name = options.pop("name")
    layer = nn.BatchNorm2d if name == "batchnorm2d" else timm.layers.get_norm_act_layer(name)
    return partial(layer, **options)


def _squeeze_excite(value: Mapping[str, Any]) -> Any:
    options = dict(value)
    if act := options.pop("force_act_layer", None):
        options["force_act_layer"] = timm.layers.get_act_layer(act)
    return partial(SqueezeExcite, rd_round_fn=round_channels, **options)


_DECODERS = {
    "block_args": decode_arch_def,
    "act_layer": timm.layers.get_act_layer,
    "norm_layer": _norm,
    "se_layer": _squeeze_excite,
    "block": lambda name: getattr(timm.models.resnet, name),
    "round_chs_fn": {"int": int}.__getitem__,
}
