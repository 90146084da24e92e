"""Mixup and cutmix, timm's, drawn from a key instead of global state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from timm.data import Mixup
from torch import Tensor

from ofa.supernet.training.settings import Settings


def make_mixup(settings: Settings, *, num_classes: int) -> Mixup | None:
    """What mixes images and labels, with the labels' smoothing; None when neither mixup nor cutmix is asked for."""
    if not (settings.mixup or settings.cutmix):
        return None
    smoothing = {"label_smoothing": settings.label_smoothing, "num_classes": num_classes}
    return Mixup(mixup_alpha=settings.mixup, cutmix_alpha=settings.cutmix, **smoothing)


def mix(mixup: Mixup, images: Tensor, labels: Tensor, *, key: Sequence[int]) -> tuple[Tensor, Tensor]:
    """timm's mixup or cutmix of a batch, drawn from ``key``.

    It mixes pairs: of an odd batch the last image is left out. timm draws from NumPy's global state, which is put back.
    """
    even = len(images) // 2 * 2
    if even == 0:
        return images, labels
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(np.random.SeedSequence(list(key)).generate_state(4))  # noqa: NPY002
    try:
        return mixup(images[:even].clone(memory_format=torch.channels_last), labels[:even])
    finally:
        np.random.set_state(before)  # noqa: NPY002
