"""Norms over the channels of a weighted width: means and variances are weighted by the mask.

With a mask of ones and zeros they are those of the narrower layer, and every channel counts as much as it is there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ofa.supernet.elastic import layer_norm as elastic


def weighted_norm(
    x: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    eps: float,
    centre_output: bool = True,
    centre_variance: bool = True,
    correction: float = 0.0,
) -> Tensor:
    """``x`` ``(..., channels)`` normalised over its last axis, of which ``mask`` ``(channels,)`` says how much counts.

    In the type of ``weight``, whatever autocast says, as torch's own norms.

    Args:
        weight, bias: of each channel; no bias where it is None.
        centre_output: whether the mean is taken off.
        centre_variance: whether the variance is about the mean, or the mean square.
        correction: by how many channels the variance's divisor is smaller than their number.
    """
    with torch.autocast(x.device.type, enabled=False):
        values, mask = x.to(weight.dtype), mask.to(weight.dtype)
        total = mask.sum()
        centred = values - (values @ (mask / total))[..., None] if centre_variance else values
        variance = (centred.square() @ (mask / (total - correction)))[..., None]
        normalised = (centred if centre_output else values) * torch.rsqrt(variance + eps) * weight
        return normalised if bias is None else normalised + bias


class _Weighted(nn.Module):
    """Runs ``weighted_norm`` in place of the plain norm; what it computes is computed again in the backward pass, so
    that it keeps no more of its input than the plain norm."""

    mask: Tensor
    channel_dim: int
    centre_output = centre_variance = True
    correction = 0.0

    def forward(self, x: Tensor) -> Tensor:
        last = x.movedim(self.channel_dim, -1)
        width = last.shape[-1]
        bias = getattr(self, "bias", None)
        arguments = (last, self.mask, self.weight[:width], None if bias is None else bias[:width])
        options = {
            "eps": self.eps,
            "centre_output": self.centre_output,
            "centre_variance": self.centre_variance,
            "correction": self.correction,
        }
        if torch.is_grad_enabled():
            normed = checkpoint(weighted_norm, *arguments, **options, use_reentrant=False, preserve_rng_state=False)
        else:
            normed = weighted_norm(*arguments, **options)
        return self.finish(normed.movedim(-1, self.channel_dim))

    def finish(self, x: Tensor) -> Tensor:
        """What comes after the norm."""
        return x


class _WeightedAct(_Weighted):
    def finish(self, x: Tensor) -> Tensor:
        return self.act(self.drop(x))


class _WeightedRms(_Weighted):
    centre_output = centre_variance = False


class _WeightedSimple(_Weighted):
    centre_output, correction = False, 1.0


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
