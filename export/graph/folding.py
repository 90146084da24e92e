"""The weights that files hold of convolutions and batch norms, as functions of their parameters.

In torch, so that gradients pass: what trains for an int8 file (``quantization.fake``) computes the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

LayerConstants = Callable[[], tuple[Tensor, Tensor | None]]


def conv_constants(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias, float32, of ``conv``, or of ``norm(conv(x))``, which is one convolution with scaled weights."""
    weight = conv.weight.float()
    bias = None if conv.bias is None else conv.bias.float()
    if norm is None:
        return weight, bias
    scale, shift = _scale_and_shift(norm)
    return weight * scale[:, None, None, None], shift if bias is None else shift + bias * scale


def norm_constants(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias, float32, of a batch norm as a depthwise 1x1 convolution."""
    scale, shift = _scale_and_shift(norm)
    return scale.reshape(-1, 1, 1, 1), shift


def linear_constants(linear: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Weight and bias, float32, of a linear layer."""
    return linear.weight.float(), None if linear.bias is None else linear.bias.float()


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm as ``x * scale + shift``, per channel."""
    mean, variance = norm.running_mean.float(), norm.running_var.float()
    # NumPy's root: torch's on a CPU is not the nearest number, and which one it is hangs on the length.
    deviation = torch.from_numpy(np.sqrt(variance.cpu().numpy() + np.float32(norm.eps))).to(mean.device)
    scale = 1 / deviation if norm.weight is None else norm.weight.float() / deviation
    return scale, -mean * scale if norm.bias is None else norm.bias.float() - mean * scale
