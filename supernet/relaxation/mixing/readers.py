"""Layers that mix channels of a weighted width: the mask over what they read is multiplied into their weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers import EcaModule
from timm.layers.conv2d_same import conv2d_same
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.elastic.conv import ElasticConv2d, ElasticConv2dSame, active_parameters
from ofa.supernet.elastic.linear import ElasticLinear, ElasticQkv


class MaskedConv2d(ElasticConv2d):
    """Reads ``x * mask``, for a ``mask`` ``(channels,)``."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = active_parameters(self, x.shape[1])
        with masked_weight_made_again(weight, self.mask) as masked:
            return self._conv_forward(x, masked, bias)


class MaskedConv2dSame(ElasticConv2dSame):
    """As ``MaskedConv2d``, with TensorFlow's "SAME" padding."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = active_parameters(self, x.shape[1])
        with masked_weight_made_again(weight, self.mask) as masked:
            return conv2d_same(x, masked, bias, self.stride, self.padding, self.dilation, self.groups)


class MaskedLinear(ElasticLinear):
    """Reads ``x * mask``, for a ``mask`` ``(features,)``."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.active_parameters(x.shape[-1])
        with masked_weight_made_again(weight, self.mask) as masked:
            return F.linear(x, masked, bias)


class MaskedQkv(MaskedLinear, ElasticQkv):
    """The layer that computes queries, keys and values."""


class MaskedEca(EcaModule):
    """Channel attention by a convolution along the pooled channels, which are few: they are multiplied themselves."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        pooled = (x.mean((2, 3)) * self.mask.to(x.dtype)).view(x.shape[0], 1, -1)
        return x * self.gate(self.conv(pooled)).view(x.shape[0], -1, 1, 1).expand_as(x)


def masked_weight(weight: Tensor, mask: Tensor) -> Tensor:
    """``weight`` ``(out, in, ...)`` times ``mask`` ``(in,)``, in the order in memory that the weight has."""
    return weight * mask.to(weight.dtype).view(1, -1, *[1] * (weight.ndim - 2))


@contextmanager
def masked_weight_made_again(weight: Tensor, mask: Tensor) -> Iterator[Tensor]:
    """``masked_weight(weight, mask)``, which no operation in the block keeps for its backward pass: it is made again.

    Weights that are kept twice would be felt where they are large and the images few or small.
    """
    masked = masked_weight(weight, mask)
    place = masked.data_ptr()

    def pack(saved: Tensor) -> Any:
        return (saved.shape, saved.stride()) if saved.data_ptr() == place else saved  # it may be transposed

    def unpack(packed: Any) -> Tensor:
        return packed if isinstance(packed, Tensor) else masked_weight(weight, mask).as_strided(*packed)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield masked


MASKED_READERS: dict[type[nn.Module], type[nn.Module]] = {
    ElasticConv2d: MaskedConv2d,
    ElasticConv2dSame: MaskedConv2dSame,
    ElasticLinear: MaskedLinear,
    ElasticQkv: MaskedQkv,
    EcaModule: MaskedEca,
}
