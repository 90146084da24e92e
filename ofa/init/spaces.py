"""Which search spaces fit the images and the devices, the largest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa.init.devices import ChosenTarget
from ofa.init.images import ImageFacts

_OPTIONS = 5  # resolutions of a space
_MIN_EPOCHS, _MAX_EPOCHS = 60, 300  # from nothing


@dataclass(frozen=True)
class Candidate:
    """A space and how its training starts.

    Attributes:
        space: the recipe's section ``space:``.
        why: one sentence for the recipe's comment.
        min_epochs: where fewer fit the time, a smaller space is the better choice.
        max_epochs: more change little.
        init: ``train.init``; ``None`` starts from random weights.
        more_weights: whether timm has pretrained weights that are not on this machine.
        channels: of the images that it needs; ``None``: any.
    """

    space: dict[str, Any]
    why: str
    min_epochs: int = _MIN_EPOCHS
    max_epochs: int = _MAX_EPOCHS
    init: Path | str | None = None
    more_weights: bool = False
    channels: int | None = None


@dataclass(frozen=True)
class _Fit:
    """A preset for images whose shorter side is at least ``side``, at resolutions up to ``largest`` by ``step``."""

    preset: str
    side: int
    smallest: int
    largest: int
    step: int


# Largest first. Those of microcontrollers have convolutions, ReLU6 and additions alone.
_USUAL = (
    _Fit("ofa_mbv3", side=160, smallest=96, largest=224, step=16),
    _Fit("ofa_mbv3", side=112, smallest=64, largest=128, step=16),
    _Fit("tiny_mbv3", side=64, smallest=48, largest=96, step=4),
    _Fit("tiny_mbv3", side=36, smallest=32, largest=64, step=4),
    _Fit("tiny_mbv3", side=0, smallest=16, largest=32, step=4),
)
_MICRO = (
    _Fit("mcu", side=112, smallest=64, largest=160, step=16),
    _Fit("mcu", side=64, smallest=48, largest=96, step=16),
    _Fit("mcu_32_ir", side=0, smallest=20, largest=32, step=4),
)


def candidates(images: ImageFacts, targets: Sequence[ChosenTarget]) -> list[Candidate]:
    """Presets to train from nothing that every target can run, the largest first."""
    micro = [target.name for target in targets if target.operators is not None]
    fits = [fit for fit in (_MICRO if micro else _USUAL) if images.side >= fit.side]
    why = f"for images of about {images.side} pixels"
    if micro:
        why += f"; without squeeze-and-excite and hard-swish, which {micro[0]} cannot run"
    return [
        Candidate({"preset": fit.preset, "resolutions": spread(fit.smallest, _fitting(images, fit), fit.step)}, why)
        for fit in fits
    ]


def _fitting(images: ImageFacts, fit: _Fit) -> int:
    """The largest resolution: that of the images, within what the preset is for."""
    return min(fit.largest, max(fit.smallest + fit.step, images.side // fit.step * fit.step))


def spread(smallest: int, largest: int, step: int) -> list[int]:
    """At most ``_OPTIONS`` multiples of ``step`` from about ``smallest`` to ``largest``, evenly spaced."""
    stride = max(1, round((largest - smallest) / (_OPTIONS - 1) / step)) * step
    sides = [largest - number * stride for number in range(_OPTIONS)]
    return sorted(side for side in sides if side >= smallest)
