"""The preprocessing of a network's images, stored where timm looks for it: in ``model.pretrained_cfg``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

_PREPROCESSING = ("mean", "std", "interpolation", "crop_pct")


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
        model: an extracted subnet, or a supernet, whose extracted subnets then get the same values.
        resolution: of the images, in pixels.
        mean, std: per channel, of pixels in 0..1.
        interpolation: how images are resized, such as ``bilinear``.
        crop_pct: the fraction of the resized image's shorter side that the centre crop keeps.

    For values that are left out, timm uses ImageNet's.
    """
    preprocessing = {"mean": mean, "std": std, "interpolation": interpolation, "crop_pct": crop_pct}
    preprocessing = {key: value for key, value in preprocessing.items() if value is not None}
    preprocessing |= {key: tuple(map(float, preprocessing[key])) for key in ("mean", "std") if key in preprocessing}
    known = {"num_classes": model.num_classes, **preprocessing}
    if resolution is not None:
        known["input_size"] = (model.in_chans, resolution, resolution)
        known["crop_mode"] = "center"
    # timm looks here for the layers that users replace.
    layers = list(model.named_modules())
    first_conv = next(name for name, layer in layers if isinstance(layer, nn.Conv2d))
    classifier = next(name for name, layer in reversed(layers) if isinstance(layer, nn.Linear))
    model.pretrained_cfg = {**known, "first_conv": first_conv, "classifier": classifier}
    return model


def told_images(model: nn.Module) -> dict[str, Any]:
    """The values that ``tell_images`` stored in ``model``, as JSON values; empty when it was not called."""
    known = getattr(model, "pretrained_cfg", None) or {}
    preprocessing = {key: known[key] for key in _PREPROCESSING if key in known}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in preprocessing.items()}
