"""Learned scales, one a channel, over a part of their channels."""

from __future__ import annotations

from timm.layers import LayerScale2d
from timm.models.convnext import ConvNeXtBlock
from timm.models.vision_transformer import LayerScale
from torch import Tensor, nn

from ofa.supernet.elastic.narrowed import Narrowed, first_features


class _ReadsWidth:
    """Runs the plain class's own forward on the first entries of ``gamma``, as many as the input has channels."""

    channel_dim = 1

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[self.channel_dim]
        if self.gamma is None or width == len(self.gamma):
            return super().forward(x)
        return super().forward.__func__(Narrowed(self, gamma=first_features(self.gamma, width)), x)


class ElasticLayerScale(_ReadsWidth, LayerScale):
    """Of the last axis."""

    channel_dim = -1


class ElasticLayerScale2d(_ReadsWidth, LayerScale2d):
    """Of the channels of images."""


class ElasticConvNeXtBlock(_ReadsWidth, ConvNeXtBlock):
    """A block that scales its branch itself; its layers are elastic by themselves."""


ELASTIC_SCALES: dict[type[nn.Module], type[nn.Module]] = {
    LayerScale: ElasticLayerScale,
    LayerScale2d: ElasticLayerScale2d,
    ConvNeXtBlock: ElasticConvNeXtBlock,
}


def make_scale_elastic(scale: nn.Module) -> None:
    """Turns a learned scale, or a block that has one itself, elastic, in place."""
    if type(scale) not in ELASTIC_SCALES:
        raise TypeError(f"cannot make {type(scale).__name__} elastic: timm's LayerScale is needed")
    scale.__class__ = ELASTIC_SCALES[type(scale)]
