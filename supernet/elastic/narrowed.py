"""A layer seen with some attributes replaced, so that its own class can run it on a part of its weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Narrowed:
    """What ``layer`` is with ``attributes`` in place of its own: the ``self`` of a plain class's method.

    ``super().forward.__func__(Narrowed(self, weight=...), x)`` runs timm's own code, hence timm's own arithmetic, on
    other tensors than the layer's. The method must not call ``super`` itself.
    """

    def __init__(self, layer: nn.Module, **attributes: Any) -> None:
        self.__dict__.update(attributes, _layer=layer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def first_features(tensor: Tensor | None, width: int) -> Tensor | None:
    """The first ``width`` entries of the last axis, without gaps between them, as a plain layer's tensor has them."""
    if tensor is None or width == tensor.shape[-1]:
        return tensor
    return tensor[..., :width].contiguous()
