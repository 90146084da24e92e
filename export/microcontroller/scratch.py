"""Scratch memory of CMSIS-NN's kernels, which is in the arena with the tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ofa.supernet.integers import ceil_div
from ofa.supernet.operators import Operator

ALIGNMENT = 4  # of every tensor and scratch buffer in an arena
MVE_CHANNELS = 124  # channels in a block of CMSIS-NN's depthwise convolution with vector instructions


def convolution_scratch(kernel: int, channels: int, *, depthwise: bool, vectors: bool) -> int:
    """Bytes of scratch memory that CMSIS-NN 4.0.0 needs for a convolution that is padded by half its kernel.

    ``channels`` are those of the input; ``vectors`` is for Cortex-M55. The sizes are those of CMSIS-NN's
    ``*_get_buffer_size`` functions. bakenn always reserves those of the Cortex-M4, which are too few for
    the kernels of the Cortex-M55.
    """
    area = kernel * kernel
    if depthwise and vectors:
        return 4 * MVE_CHANNELS * area
    if depthwise:
        return 0 if kernel == 3 else 2 * channels * area  # the 3x3 kernel uses registers only
    if kernel == 1:
        return 0
    return 4 * 8 * ceil_div(channels * area, 8) if vectors else 4 * channels * area


def operator_scratch(operator: Operator, in_channels: int, *, vectors: bool) -> int:
    """Bytes of scratch memory of any operator; an average pool without vector instructions sums in int32."""
    if operator.kind in ("conv", "depthwise"):
        depthwise = operator.kind == "depthwise"
        return convolution_scratch(operator.kernel, in_channels, depthwise=depthwise, vectors=vectors)
    return 4 * in_channels if operator.kind == "pool" and not vectors else 0


def scratch_bytes(step: Any, weight_shape: Sequence[int], *, vectors: bool) -> int | None:
    """``convolution_scratch`` of a step of bakenn's plan; None where it is not known."""
    depthwise = step.kernel_kind == "depthwise_conv2d_s8"
    if not depthwise and step.kernel_kind != "conv2d_s8":
        return None
    height, width, channels = weight_shape if depthwise else weight_shape[1:]
    if height != width or max(step.padding) > height // 2:
        return None
    return convolution_scratch(height, channels, depthwise=depthwise, vectors=vectors)
