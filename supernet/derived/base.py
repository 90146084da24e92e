"""Plain models as timm builds them: by a registered name, or by a class and its arguments as JSON values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import timm
import timm.layers
import timm.models
import torch
from timm.models._efficientnet_blocks import ConvBnAct
from torch import nn

from ofa.supernet import families
from ofa.supernet.derived.arguments import check_arguments
from ofa.supernet.without_init import WithoutInit

Decoder = Callable[[Any], Any]
CLASSES = "timm.models."  # before the name of a class, where there is no registered name
IN_CHANS, NUM_CLASSES = 3, 1000  # of a network that is walked; the number of each is given when costs are counted


def build_base(timm_name: str, arguments: Mapping[str, Any], *, device: str | None = None) -> nn.Module:
    """The plain model ``timm.create_model(timm_name, **arguments)``; or of a class, ``timm.models.`` before it.

    Arguments of a class are JSON values: ``act_layer`` and ``norm_layer`` are timm's names, and its family's
    ``DECODERS`` say what others are. On the meta device nothing is initialised.

    Two arguments are not timm's. ``residual_convs``, such as ``{"conv1": 3}``, gives the convolution with this number
    in a sequence (its norm and activation come after it) a residual connection, as one of timm's own blocks has it. The
    block is alone in a sequence in its place, so that it may be left out. ``strides``, such as ``{"conv_stem": 1}``,
    are those of convolutions for which timm has no argument.

    Raises ``ValueError`` for a name that timm does not know, and arguments that read files or reach the network.
    """
    check_arguments(arguments)
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
    return build_base(timm_name, options, device="meta").eval().requires_grad_(False)


def _build(timm_name: str, arguments: dict[str, Any]) -> nn.Module:
    residual, device = arguments.pop("residual_convs", {}), arguments.get("device")
    strides = arguments.pop("strides", {})
    model = _plain(timm_name, arguments)
    for path, stride in strides.items():
        conv = model.get_submodule(path)
        if not isinstance(conv, nn.Conv2d):
            raise ValueError(f"strides: {path} is a {type(conv).__name__}; give the name of a convolution")
        conv.stride = (int(stride),) * 2
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
    name = timm_name.removeprefix(CLASSES)
    if name not in families.derived_classes():  # other names of this module are functions that do what they like
        raise ValueError(f"timm has no class called {name!r} that networks here are of")
    decoders = _DECODERS | _decoders_of(name)
    values = {key: decoders[key](value) if key in decoders else value for key, value in arguments.items()}
    return getattr(timm.models, name)(**values)


def _decoders_of(timm_class: str) -> Mapping[str, Decoder]:
    """How a class's own arguments are made of JSON values: ``DECODERS`` of the family that it is of."""
    family = families.derived_classes()[timm_class]
    return getattr(import_module(f"ofa.supernet.families.{family}.timm_parts"), "DECODERS", {})


def _norm(value: Mapping[str, Any]) -> Any:
    """``{"name": "batchnorm2d", "eps": 0.001}``: timm's batch norm with its activation where the class wants one."""
    options = dict(value)
    name = options.pop("name")
    layer = nn.BatchNorm2d if name == "batchnorm2d" else timm.layers.get_norm_act_layer(name)
    return partial(layer, **options)


_DECODERS: dict[str, Decoder] = {"act_layer": timm.layers.get_act_layer, "norm_layer": _norm}
