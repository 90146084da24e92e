"""Where each activation lies in the arena of a model that became C: as little RAM as its largest moment needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_ALIGNMENT = 4
_TRIES = 60
MVE_CHANNELS = 124  # CMSIS-NN's depthwise convolution with vector instructions works on blocks of so many


@dataclass(frozen=True)
class Buffer:
    """Bytes that are needed from step ``first`` to step ``last``, both included."""

    size: int
    first: int
    last: int


def convolution_scratch(kernel: int, channels: int, *, depthwise: bool, vectors: bool) -> int:
    """Bytes that CMSIS-NN 4.0.0 works in during a convolution that is padded by half its kernel.

    ``channels`` are those that it reads; ``vectors`` is for Cortex-M55. These are the sizes of its
    ``*_get_buffer_size`` functions. bakenn reserves those of the Cortex-M4 alone, too few for the Cortex-M55, whose
    kernels would write past them.
    """
    area = kernel * kernel
    if depthwise and vectors:
        return 4 * MVE_CHANNELS * area
    if depthwise:
        return 0 if kernel == 3 else 2 * channels * area  # its 3x3 kernel works in registers
    if kernel == 1:
        return 0
    return 4 * 8 * -(-channels * area // 8) if vectors else 4 * channels * area


def scratch_bytes(step: Any, weight_shape: Sequence[int], *, vectors: bool) -> int | None:
    """``convolution_scratch`` of one of bakenn's steps; None where that is not known."""
    depthwise = step.kernel_kind == "depthwise_conv2d_s8"
    if not depthwise and step.kernel_kind != "conv2d_s8":
        return None
    height, width, channels = weight_shape if depthwise else weight_shape[1:]
    if height != width or max(step.padding) > height // 2:
        return None
    return convolution_scratch(height, channels, depthwise=depthwise, vectors=vectors)


def live_bytes(buffers: Sequence[Buffer]) -> int:
    """The most bytes that are needed at once: no arena can be smaller."""
    steps = {buffer.first for buffer in buffers}
    return max(
        (sum(aligned(b.size) for b in buffers if b.first <= step <= b.last) for step in steps),
        default=0,
    )


def place(buffers: Sequence[Buffer]) -> tuple[list[int], int]:
    """An offset for each buffer and the arena's size.

    Greedy, in orders that are tried until one reaches ``live_bytes``: largest first, most crowded moment first, and
    random ones (the same in every run) when those are not ideal.
    """
    lowest = live_bytes(buffers)
    sums = {step: sum(b.size for b in buffers if b.first <= step <= b.last) for step in {b.first for b in buffers}}
    crowd = [max(total for step, total in sums.items() if b.first <= step <= b.last) for b in buffers]
    spans = [b.last - b.first for b in buffers]
    rng = np.random.default_rng(0)
    keys = [
        [-b.size for b in buffers],
        list(zip([-c for c in crowd], [-b.size for b in buffers], strict=True)),
        list(zip([-c for c in crowd], [-s for s in spans], [-b.size for b in buffers], strict=True)),
        *(list(zip([-c for c in crowd], rng.random(len(buffers)), strict=True)) for _ in range(_TRIES)),
    ]
    best: tuple[list[int], int] = ([], -1)
    for key in keys:
        found = _greedy(buffers, sorted(range(len(buffers)), key=key.__getitem__))
        if best[1] < 0 or found[1] < best[1]:
            best = found
        if best[1] == lowest:
            break
    return best


def _greedy(buffers: Sequence[Buffer], order: Sequence[int]) -> tuple[list[int], int]:
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for index in order:
        buffer = buffers[index]
        taken = sorted(
            (offsets[other], offsets[other] + aligned(buffers[other].size))
            for other in placed
            if buffers[other].first <= buffer.last and buffer.first <= buffers[other].last
        )
        ends = [0, *(end for _, end in taken)]
        starts = [*(start for start, _ in taken), None]
        floor = 0
        for end, start in zip(ends, starts, strict=True):
            floor = max(floor, end)
            if start is None or floor + buffer.size <= start:
                break
        offsets[index] = floor
        placed.append(index)
    size = max((offset + aligned(buffer.size) for offset, buffer in zip(offsets, buffers, strict=True)), default=0)
    return offsets, size


def aligned(size: int) -> int:
    """``size`` rounded up to what every buffer of an arena takes."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT
