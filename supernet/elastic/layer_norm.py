"""Layer norms and their like over a part of their channels: they normalise over the active channels alone."""

from __future__ import annotations

from typing import Any

import timm.layers as plain
from timm.layers.grn import GlobalResponseNorm
from torch import Tensor, nn

from ofa.supernet.elastic.narrowed import Narrowed, first_features


class _ReadsWidth:
    """Runs the plain class's own forward on the first ``x.shape[channel_dim]`` entries of weight and bias."""

    channel_dim = -1

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[self.channel_dim]
        if width == len(self.weight):
            return super().forward(x)
        narrow = Narrowed(
            self,
            weight=first_features(self.weight, width),
            bias=first_features(getattr(self, "bias", None), width),
            normalized_shape=(width,),
        )
        return super().forward.__func__(narrow, x)


class _ReadsWidth2d(_ReadsWidth):
    channel_dim = 1


class ElasticLayerNorm(_ReadsWidth, nn.LayerNorm):
    """torch's, over the last axis."""


class ElasticTimmLayerNorm(_ReadsWidth, plain.LayerNorm):
    """timm's, over the last axis."""


class ElasticLayerNorm2d(_ReadsWidth2d, plain.LayerNorm2d):
    """Over the channels of images."""


class ElasticLayerNormAct(_ReadsWidth, plain.LayerNormAct):
    """With activation, over the last axis."""


class ElasticLayerNormAct2d(_ReadsWidth2d, plain.LayerNormAct2d):
    """With activation, over the channels of images."""


class ElasticRmsNorm(_ReadsWidth, plain.RmsNorm):
    """Root mean square alone, over the last axis."""


class ElasticRmsNorm2d(_ReadsWidth2d, plain.RmsNorm2d):
    """Root mean square alone, over the channels of images."""


class ElasticSimpleNorm(_ReadsWidth, plain.SimpleNorm):
    """Standard deviation alone, over the last axis."""


class ElasticSimpleNorm2d(_ReadsWidth2d, plain.SimpleNorm2d):
    """Standard deviation alone, over the channels of images."""


class ElasticGlobalResponseNorm(_ReadsWidth, GlobalResponseNorm):
    """Channels compared with the mean of the active ones ("ConvNeXt V2", https://arxiv.org/abs/2301.00808)."""


ELASTIC_LAYER_NORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.LayerNorm: ElasticLayerNorm,
    plain.LayerNorm: ElasticTimmLayerNorm,
    plain.LayerNorm2d: ElasticLayerNorm2d,
    plain.LayerNormAct: ElasticLayerNormAct,
    plain.LayerNormAct2d: ElasticLayerNormAct2d,
    plain.RmsNorm: ElasticRmsNorm,
    plain.RmsNorm2d: ElasticRmsNorm2d,
    plain.SimpleNorm: ElasticSimpleNorm,
    plain.SimpleNorm2d: ElasticSimpleNorm2d,
    GlobalResponseNorm: ElasticGlobalResponseNorm,
}


def why_layer_norm_is_fixed(norm: nn.Module) -> str:
    """What is needed to make a layer norm elastic, or nothing where nothing is missing."""
    if type(norm) not in ELASTIC_LAYER_NORMS or norm.weight is None or norm.weight.ndim != 1:
        return "a layer norm of torch or timm is needed, with one weight a channel"
    return ""


def make_layer_norm_elastic(norm: nn.Module) -> None:
    """Turns a layer norm, or one of its like, elastic, in place."""
    if reason := why_layer_norm_is_fixed(norm):
        raise TypeError(f"cannot make {type(norm).__name__} elastic: {reason}")
    norm.__class__ = ELASTIC_LAYER_NORMS[type(norm)]


def plain_layer_norm(norm: nn.Module, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    """Attributes of a plain layer norm of ``out`` channels."""
    return {"normalized_shape": (out,)} if hasattr(norm, "normalized_shape") else {}
