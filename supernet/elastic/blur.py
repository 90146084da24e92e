"""timm's anti-aliasing blur over a part of its channels."""

from __future__ import annotations

from typing import Any

from timm.layers import BlurPool2d
from torch import Tensor, nn

from ofa.supernet.elastic.narrowed import Narrowed


class ElasticBlurPool2d(BlurPool2d):
    """The same fixed filter over each of the first ``x.shape[1]`` channels."""

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[1]
        if self.channels in (None, width):
            return super().forward(x)
        return super().forward.__func__(Narrowed(self, filt=self.filt[:width], channels=width), x)


def make_blur_elastic(blur: nn.Module) -> None:
    """Turns a blur elastic, in place."""
    if type(blur) is not BlurPool2d:
        raise TypeError(f"cannot make {type(blur).__name__} elastic: timm's BlurPool2d is needed")
    blur.__class__ = ElasticBlurPool2d


def plain_blur(blur: nn.Module, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    """Attributes of a plain blur of ``out`` channels. No state dict holds its buffer ``filt``: ``(out, 1, k, k)``."""
    return {} if blur.channels is None else {"channels": out}
