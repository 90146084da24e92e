"""A plain timm model, with its weights, as the largest network of a supernet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from ofa.supernet.derived.base import build_base
from ofa.supernet.derived.classifier import draw_classifier
from ofa.supernet.derived.derive import Elastic, base_of, family_of, space_values
from ofa.supernet.space import SearchSpace

_WITHOUT_WEIGHTS = ("Dropout", "DropPath", "Identity")


def named_model(
    name_or_model: str | nn.Module,
    *,
    pretrained: bool,
    num_classes: int | None,
    in_chans: int | None,
    arguments: Mapping[str, Any],
) -> nn.Module:
    """The plain model of a name, with timm's weights if ``pretrained``; or the given one, checked.

    Raises ``ValueError`` for a name that timm or no family knows, weights that cannot be had, and a model that is not
    what timm builds by its name.
    """
    if isinstance(name_or_model, nn.Module):
        return _checked(name_or_model, arguments, num_classes=num_classes, in_chans=in_chans)
    family_of(base_of(name_or_model, arguments), name_or_model)  # before anything is downloaded
    head = {"num_classes": num_classes, "in_chans": in_chans}
    options = {**arguments, **{key: value for key, value in head.items() if value is not None}}
    try:
        model = timm.create_model(name_or_model, pretrained=True, **options) if pretrained else None
    except Exception as error:  # of the network, the hub, or timm, which has no weights of some names
        raise ValueError(
            f"timm has no weights of {name_or_model} for us ({str(error).splitlines()[0]}); give a .safetensors file "
            "of them instead (train.init in a recipe), or start from nothing"
        ) from error
    if model is None:
        model = build_base(name_or_model, options)
    known = (getattr(model, "pretrained_cfg", None) or {}).get("num_classes")
    if not pretrained or model.num_classes != known:
        draw_classifier(model)
    return model


def name_of(model: nn.Module) -> str:
    """The name by which timm builds a model. Raises ``ValueError`` for one that timm did not build."""
    name = (getattr(model, "pretrained_cfg", None) or {}).get("architecture", "")
    if not name:
        raise ValueError(
            f"this {type(model).__name__} does not say by which name timm builds it (pretrained_cfg['architecture']); "
            "make it by timm.create_model"
        )
    return str(name)


def space_of(model: nn.Module, elastic: Mapping[str, Any], arguments: Mapping[str, Any]) -> SearchSpace:
    """The space whose largest network ``model`` is. Raises ``ValueError`` as ``space_values`` does."""
    return SearchSpace.from_dict(space_values(name_of(model), arguments=arguments, elastic=Elastic(**elastic)))


def in_chans_of(model: nn.Module) -> int:
    """Channels of the images: what the first convolution reads."""
    return next(module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))


@torch.no_grad()
def take_weights(net: nn.Module, model: nn.Module) -> None:
    """Gives a supernet ``net`` the weights of its plain largest network, and puts it where that is."""
    own = net.model.state_dict()  # shares memory with the parameters
    for name, tensor in model.state_dict().items():
        own[name].copy_(tensor)  # keeps its memory format
    net.to(next(model.parameters()).device)


def _checked(
    model: nn.Module, arguments: Mapping[str, Any], *, num_classes: int | None, in_chans: int | None
) -> nn.Module:
    """``model``, if timm builds the same by its name, with another classifier if asked for."""
    name = name_of(model)
    head = {"num_classes": model.num_classes, "in_chans": in_chans_of(model)}
    family_of(model, name)
    for path, tensor in model.named_parameters():
        if tensor.is_meta:
            raise ValueError(f"this model has no weights: {path} is on the meta device; build it on a CPU or a GPU")
        if tensor.dtype != torch.float32:
            raise ValueError(f"{path} of this model is of {tensor.dtype}; call .float() on it first")
    if in_chans not in (None, head["in_chans"]):
        raise ValueError(
            f"this model reads {head['in_chans']} channels, not {in_chans}; build it with in_chans={in_chans}"
        )
    like = build_base(name, {**arguments, **head}, device="meta")
    if difference := _difference(model, like):
        raise ValueError(
            f"this model is not what timm builds as {name}: {difference}; pass its arguments as arguments="
        )
    if num_classes in (None, model.num_classes):
        return model
    other = build_base(name, {**arguments, **head, "num_classes": num_classes})
    shapes = {path: tensor.shape for path, tensor in like.state_dict().items()}
    classifier = {path for path, tensor in other.state_dict().items() if tensor.shape != shapes[path]}
    draw_classifier(other)
    kept = {path: tensor for path, tensor in model.state_dict().items() if path not in classifier}
    other.load_state_dict(kept, strict=False)
    return other


def _difference(model: nn.Module, like: nn.Module) -> str:
    """The first layer or parameter that differs, in words; empty when none does."""
    ours, theirs = _layers(model), _layers(like)
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        if ours.get(name) != theirs.get(name):
            return f"{name or 'the whole'} is {ours.get(name, 'missing')}, and there {theirs.get(name, 'missing')}"
    return ""


def _layers(model: nn.Module) -> dict[str, str]:
    layers = {
        name: type(module).__name__
        for name, module in model.named_modules()
        if not type(module).__name__.startswith(_WITHOUT_WEIGHTS)
    }
    return layers | {name: str(list(tensor.shape)) for name, tensor in model.state_dict().items()}
