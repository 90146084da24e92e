"""How a network's images are made, where timm looks for it: ``model.pretrained_cfg``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

_PIXELS = ("mean", "std", "interpolation", "crop_pct")


def tell_images(
    model: nn.Module,
    resolution: int | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: str | None = None,
    crop_pct: float | None = None,
    **_other: Any,
) -> nn.Module:
    """Sets ``pretrained_cfg``, so that ``timm.data.resolve_model_data_config(model)`` gives these values; returns it.

    Args:
        model: an extracted subnet, or a supernet, whose subnets then get the values when they are extracted.
        resolution: of the images, in pixels.
        mean, std: per channel, of pixels in 0..1.
        interpolation: how images are resized, such as ``bilinear``.
        crop_pct: the share of the resized image's shorter side that the centre crop keeps.

    What is left out is not told, and timm then takes ImageNet's.
    """
    told = {"mean": mean, "std": std, "interpolation": interpolation, "crop_pct": crop_pct}
    told = {key: value for key, value in told.items() if value is not None}
    told |= {key: tuple(map(float, told[key])) for key in ("mean", "std") if key in told}
    known = {"num_classes": model.num_classes, **told}
    if resolution is not None:
        known["input_size"] = (model.in_chans, resolution, resolution)
        known["crop_mode"] = "center"
    # Where timm looks for the layers that a user replaces.
    layers = list(model.named_modules())
    first_conv = next(name for name, layer in layers if isinstance(layer, nn.Conv2d))
    classifier = next(name for name, layer in reversed(layers) if isinstance(layer, nn.Linear))
    model.pretrained_cfg = {**known, "first_conv": first_conv, "classifier": classifier}
    return model


def told_images(model: nn.Module) -> dict[str, Any]:
    """What ``tell_images`` was told of ``model``, as JSON values; empty when it was not called."""
    told = getattr(model, "pretrained_cfg", None) or {}
    values = {key: told[key] for key in _PIXELS if key in told}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
