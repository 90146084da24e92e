"""Layers that nobody knows, as one operator each: what they cost is counted while they run, not derived."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ofa.supernet.operators import Counted, Operator


def opaque_operator(
    leaf: nn.Module, inputs: Sequence[Tensor], result: Tensor, *, tensors: Sequence[int], side: int, dim: int
) -> Operator:
    """The operator of ``leaf``, which was run on ``inputs`` (meta tensors) with maps of ``side`` and gave ``result``.

    ``tensors`` are the inputs' numbers; ``dim`` is the dimension of the result's channels. Multiply-accumulates are
    those of convolutions, linear layers and products of matrices. What lives inside the layer is not counted.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        leaf(*inputs)
    positions = math.prod(size for number, size in enumerate(result.shape) if number not in (0, dim))
    out_side = math.isqrt(positions)
    counted = Counted(side, counter.get_total_flops() // 2, out_side, positions - out_side**2)
    params = sum(parameter.numel() for parameter in leaf.parameters())
    return Operator("opaque", tuple(tensors), result.shape[dim], counted=(counted,), extra_params=params)
