"""Norms over the channels of a weighted width: means and variances are weighted by the mask.

With a mask of ones and zeros they are those of the narrower layer, and every channel counts as much as it is there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ofa.supernet.elastic import layer_norm as elastic
from ofa.supernet.relaxation.mixing.weighted_norm import NormKind, weighted_norm


class _Weighted(nn.Module):
    """Runs ``weighted_norm`` in place of the plain norm."""

    mask: Tensor
    channel_dim: int
    kind = NormKind()

    def forward(self, x: Tensor) -> Tensor:
        width, bias = x.shape[self.channel_dim], getattr(self, "bias", None)
        weight, bias = self.weight[:width], None if bias is None else bias[:width]
        normed = weighted_norm(x.movedim(self.channel_dim, -1), self.mask, weight, bias, eps=self.eps, kind=self.kind)
        return self.finish(normed.movedim(-1, self.channel_dim))

    def finish(self, x: Tensor) -> Tensor:
        """What comes after the norm."""
        return x


class _WeightedAct(_Weighted):
    def finish(self, x: Tensor) -> Tensor:
        return self.act(self.drop(x))


class _WeightedRms(_Weighted):
    kind = NormKind(centre_variance=False, centre_output=False)


class _WeightedSimple(_Weighted):
    kind = NormKind(centre_output=False, correction=1.0)


class WeightedGlobalResponseNorm(elastic.ElasticGlobalResponseNorm):
    """Compares each channel with the weighted mean of all."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask.to(x.dtype)
        norms = x.norm(p=2, dim=self.spatial_dim, keepdim=True)
        shares = (mask / mask.sum()).view(self.wb_shape)
        relative = norms / ((norms * shares).sum(self.channel_dim, keepdim=True) + self.eps)
        weight, bias = self.weight[: len(mask)].view(self.wb_shape), self.bias[: len(mask)].view(self.wb_shape)
        return x + torch.addcmul(bias, weight, x * relative)


_PLACES = {
    elastic.ElasticLayerNorm: _Weighted,
    elastic.ElasticTimmLayerNorm: _Weighted,
    elastic.ElasticLayerNorm2d: _Weighted,
    elastic.ElasticLayerNormAct: _WeightedAct,
    elastic.ElasticLayerNormAct2d: _WeightedAct,
    elastic.ElasticRmsNorm: _WeightedRms,
    elastic.ElasticRmsNorm2d: _WeightedRms,
    elastic.ElasticSimpleNorm: _WeightedSimple,
    elastic.ElasticSimpleNorm2d: _WeightedSimple,
}

WEIGHTED_NORMS: dict[type[nn.Module], type[nn.Module]] = {
    **{
        plain: type(plain.__name__.replace("Elastic", "Weighted"), (weighted, plain), {"__module__": __name__})
        for plain, weighted in _PLACES.items()
    },
    elastic.ElasticGlobalResponseNorm: WeightedGlobalResponseNorm,
}
