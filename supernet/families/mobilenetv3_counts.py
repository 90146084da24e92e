"""Multiply-accumulates, parameters, weights and live activations of MobileNetV3's parts, counted from their shapes.

MACs are those of convolutions and linear layers for one image. Parameters include batch norms' scales and shifts, not
their running statistics. Weights and live activations are those of the deployed network, whose batch norms are folded
into the convolutions and whose activation functions work in place.
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


def block_weights(space: SearchSpace, slot: Slot, *, kernel: int, expand: float) -> tuple[int, int]:
    """Weights and biases of one elastic block."""
    stage, mid = space.stages[slot.stage], mid_width(slot.in_width, expand)
    squeezed = squeeze_width(mid)
    weights, biases = mid * (slot.in_width + kernel**2 + stage.width), 2 * mid + stage.width
    return (weights + 2 * mid * squeezed, biases + squeezed + mid) if stage.se else (weights, biases)


def block_params(space: SearchSpace, slot: Slot, *, kernel: int, expand: float, size: int) -> int:
    """Of one elastic block; ``size`` does not matter."""
    del size
    normed = 2 * mid_width(slot.in_width, expand) + space.stages[slot.stage].width  # a scale each, besides the shift
    return sum(block_weights(space, slot, kernel=kernel, expand=expand)) + normed


def block_live(space: SearchSpace, slot: Slot, *, kernel: int, expand: float, size: int) -> int:
    """The most values that one elastic block keeps at once; ``kernel`` does not matter."""
    del kernel
    stage, mid = space.stages[slot.stage], mid_width(slot.in_width, expand)
    stride = stage.stride if slot.index == 0 else 1
    read, wide = slot.in_width * size**2, mid * size**2
    narrow, written = (width * (-(-size // stride)) ** 2 for width in (mid, stage.width))
    waiting = read if stride == 1 and slot.in_width == stage.width else 0  # the residual's input
    operators = [read + wide, waiting + wide + narrow, waiting + narrow + written]
    if waiting:
        operators.append(waiting + 2 * written)  # the addition
    if stage.se:
        operators.append(waiting + narrow + mid + narrow)  # map, gates, gated map: squeezing needs less
    return max(operators)


def fixed_macs(space: SearchSpace, resolution: int, *, num_classes: int, in_chans: int) -> int:
    """Of stem and head."""
    stem, head, last = space.stem, space.head, space.stages[-1].width
    sizes = space.sizes(resolution)
    stem_pixel = stem.width * (9 * in_chans + 9 + stem.first_width)
    return sizes[0] ** 2 * stem_pixel + sizes[-1] ** 2 * last * head.width + head.features * (head.width + num_classes)


def fixed_weights(space: SearchSpace, *, num_classes: int, in_chans: int) -> tuple[int, int]:
    """Weights and biases of stem and head."""
    stem, head, last = space.stem, space.head, space.stages[-1].width
    stem_weights = stem.width * (9 * in_chans + 9 + stem.first_width)
    head_weights = head.width * (last + head.features) + head.features * num_classes
    return stem_weights + head_weights, 2 * stem.width + stem.first_width + head.width + num_classes


def fixed_params(space: SearchSpace, resolution: int, *, num_classes: int, in_chans: int) -> int:
    """Of stem and head; ``resolution`` does not matter."""
    del resolution
    normed = 2 * space.stem.width + space.stem.first_width + space.head.width
    return sum(fixed_weights(space, num_classes=num_classes, in_chans=in_chans)) + normed


def fixed_live(space: SearchSpace, resolution: int, *, num_classes: int, in_chans: int) -> int:
    """The most values that stem and head keep at once."""
    stem, head = space.stem, space.head
    sizes = space.sizes(resolution)
    begun, first = (width * sizes[0] ** 2 for width in (stem.width, stem.first_width))
    read, wide = (width * sizes[-1] ** 2 for width in (space.stages[-1].width, head.width))
    residual = stem.width == stem.first_width
    return max(
        in_chans * resolution**2 + begun,
        2 * begun,
        begun + first + (begun if residual else 0),
        read + wide,
        wide + head.width,
        head.width + head.features,
        head.features + num_classes,
    )
