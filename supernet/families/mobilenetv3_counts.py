"""Multiply-accumulates and parameters of MobileNetV3's parts, counted from their shapes.

MACs are those of convolutions and linear layers for one image. Parameters include batch norms' scales and shifts, not
their running statistics.
"""

from __future__ import annotations

from ofa.supernet.space import SearchSpace, Slot, mid_width


def squeeze_width(width: int) -> int:
    """Channels inside the squeeze-excite of a block with ``width`` middle channels."""
    return mid_width(width, 0.25)


def block_macs(space: SearchSpace, slot: Slot, *, kernel: int, expand: float, size: int) -> int:
    """Of one elastic block that reads a feature map of ``size`` x ``size``."""
    stage, mid = space.stages[slot.stage], mid_width(slot.in_width, expand)
    out_size = -(-size // (stage.stride if slot.index == 0 else 1))
    squeeze = 2 * mid * squeeze_width(mid) if stage.se else 0
    return slot.in_width * mid * size**2 + mid * (kernel**2 + stage.width) * out_size**2 + squeeze


def block_params(space: SearchSpace, slot: Slot, *, kernel: int, expand: float, size: int) -> int:
    """Of one elastic block; ``size`` does not matter."""
    del size
    stage, mid = space.stages[slot.stage], mid_width(slot.in_width, expand)
    squeezed = squeeze_width(mid)
    squeeze = 2 * mid * squeezed + squeezed + mid if stage.se else 0
    convolutions = mid * (slot.in_width + kernel**2 + stage.width)
    return convolutions + 2 * (2 * mid + stage.width) + squeeze


def fixed_macs(space: SearchSpace, resolution: int, *, num_classes: int, in_chans: int) -> int:
    """Of stem and head."""
    stem, head, last = space.stem, space.head, space.stages[-1].width
    sizes = space.sizes(resolution)
    stem_pixel = stem.width * (9 * in_chans + 9 + stem.first_width)
    return sizes[0] ** 2 * stem_pixel + sizes[-1] ** 2 * last * head.width + head.features * (head.width + num_classes)


def fixed_params(space: SearchSpace, resolution: int, *, num_classes: int, in_chans: int) -> int:
    """Of stem and head; ``resolution`` does not matter."""
    del resolution
    stem, head, last = space.stem, space.head, space.stages[-1].width
    stem_weights = stem.width * (9 * in_chans + 9 + stem.first_width) + 2 * (2 * stem.width + stem.first_width)
    head_weights = head.width * (last + 2 + head.features) + num_classes * (head.features + 1)
    return stem_weights + head_weights
