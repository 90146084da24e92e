"""Convolutions whose kernel is a weighted sum of those that they can choose: one convolution, however many there are.

A kernel of size ``k`` is embedded in the centre of the largest one, which is padded by half of it, so that the sum of
the embedded kernels computes the sum of their convolutions. The mixture is of weights, hence in front of a batch norm
that follows: only its shape matters there, not a common factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.supernet.elastic.depthwise import ElasticDepthwiseConv2d, ElasticDepthwiseConv2dSame
from ofa.supernet.elastic.kernel_conv import ElasticKernelConv2d
from ofa.supernet.elastic.kernels import smaller_kernel
from ofa.supernet.relaxation.mixing.readers import masked_weight


def mixed_kernel(
    weight: Tensor, kernel_weights: Mapping[int, Tensor], *, kernels: Sequence[int], transforms: nn.ParameterDict
) -> Tensor:
    """The weighted sum of all kernels, as large as the largest. ``kernels`` are descending, as the leaf has them."""
    kernel, own = weight, kernels[0]
    mixed = kernel * kernel_weights[own].to(weight.dtype) if own in kernel_weights else torch.zeros_like(weight)
    for larger, smaller in pairwise(kernels):
        kernel = smaller_kernel(kernel, smaller, kernels=(larger, smaller), transforms=transforms)
        if smaller in kernel_weights:
            mixed = mixed + F.pad(kernel * kernel_weights[smaller].to(weight.dtype), [(own - smaller) // 2] * 4)
    return mixed


class _MixedDepthwise(nn.Module):
    kernel_weights: dict[int, Tensor]  # by size

    def active_weight(self, channels: int, kernel: int) -> Tensor:
        weight = self.weight[:channels] if channels < self.weight.shape[0] else self.weight
        return mixed_kernel(weight, self.kernel_weights, kernels=self.kernels, transforms=self.transforms)


class MixedDepthwiseConv2d(_MixedDepthwise, ElasticDepthwiseConv2d):
    """Depthwise convolution with the mixture of its kernels."""


class MixedDepthwiseConv2dSame(_MixedDepthwise, ElasticDepthwiseConv2dSame):
    """The same with TensorFlow's "SAME" padding, whose middle is that of every odd kernel above the stride."""


class MixedKernelConv2d(ElasticKernelConv2d):
    """Full convolution with the mixture of its kernels, over a width that may be weighted, too."""

    kernel_weights: dict[int, Tensor]
    mask: Tensor | None = None

    def active_weight(self, out: int, read: int, kernel: int) -> Tensor:
        weight = self.weight if (out, read) == self.weight.shape[:2] else self.weight[:out, :read]
        mixed = mixed_kernel(weight, self.kernel_weights, kernels=self.kernels, transforms=self.transforms)
        mixed = mixed if self.mask is None else masked_weight(mixed, self.mask)
        return mixed.to(memory_format=torch.channels_last)


MIXED_KERNELS: dict[type[nn.Module], type[nn.Module]] = {
    ElasticDepthwiseConv2d: MixedDepthwiseConv2d,
    ElasticDepthwiseConv2dSame: MixedDepthwiseConv2dSame,
    ElasticKernelConv2d: MixedKernelConv2d,
}
