"""Augmentation of training images with timm's transforms, as set in a recipe's ``data.augment``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from timm.data import create_transform

from ofa.errors import UserError

if TYPE_CHECKING:
    from ofa.config.data import AugmentConfig

INTERPOLATION = "bilinear"


def is_plain(augment: AugmentConfig) -> bool:
    """Whether nothing is augmented, so that every epoch has the same pixels."""
    whole = tuple(augment.scale) == (1, 1) and tuple(augment.ratio) == (1, 1)
    return whole and not (augment.hflip or augment.color_jitter or augment.auto_augment)


def augmentation(
    augment: AugmentConfig, *, resolution: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[Image.Image], np.ndarray]:
    """timm's training transform, from a PIL image to uint8 ``(channels, resolution, resolution)``.

    Raises ``UserError`` for a policy that timm does not know.
    """
    try:
        return create_transform(
            resolution,
            is_training=True,
            scale=tuple(augment.scale),
            ratio=tuple(augment.ratio),
            hflip=augment.hflip,
            color_jitter=augment.color_jitter or None,
            auto_augment=augment.auto_augment,
            interpolation=INTERPOLATION,
            mean=mean,
            std=std,
            normalize=False,
        )
    except (AssertionError, KeyError, ValueError) as error:
        raise UserError(
            f"data.augment.auto_augment: timm does not know {augment.auto_augment!r} ({error}); "
            "try rand-m9-mstd0.5, augmix-m3, 3a or original"
        ) from error
