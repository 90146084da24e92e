"""What MobileNetV3's parts cost by formulas written by hand: the oracle of the folds over their operators.

MACs are those of convolutions and linear layers for one image. Parameters include batch norms' scales and shifts, not
their running statistics. Weights and live activations are those of the deployed network, whose batch norms are folded
into the convolutions and whose activation functions work in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ofa.export.microcontroller.scratch import convolution_scratch
from ofa.predictors.costs.microcontroller.loops import OperatorShape, conv
from ofa.supernet.families.mobilenetv3.space import mid_channels
from ofa.supernet.space import BlockPosition, SearchSpace


def squeeze_width(width: int) -> int:
    """Channels inside the squeeze-excite of a block with ``width`` middle channels."""
    return mid_channels(width, 0.25)


def block_macs(space: SearchSpace, slot: BlockPosition, *, kernel: int, expand: float, size: int) -> int:
    """Of one elastic block that reads a feature map of ``size`` x ``size``."""
    stage, mid = space.stages[slot.stage], mid_channels(slot.in_channels, expand)
    out_size = -(-size // (stage.stride if slot.index == 0 else 1))
    squeeze = 2 * mid * squeeze_width(mid) if stage.se else 0
    return slot.in_channels * mid * size**2 + mid * (kernel**2 + stage.width) * out_size**2 + squeeze


def block_weights(space: SearchSpace, slot: BlockPosition, *, kernel: int, expand: float) -> tuple[int, int]:
    """Weights and biases of one elastic block."""
    stage, mid = space.stages[slot.stage], mid_channels(slot.in_channels, expand)
    squeezed = squeeze_width(mid)
    weights, biases = mid * (slot.in_channels + kernel**2 + stage.width), 2 * mid + stage.width
    return (weights + 2 * mid * squeezed, biases + squeezed + mid) if stage.se else (weights, biases)


def block_params(space: SearchSpace, slot: BlockPosition, *, kernel: int, expand: float, size: int) -> int:
    """Of one elastic block; ``size`` does not matter."""
    del size
    normed = (
        2 * mid_channels(slot.in_channels, expand) + space.stages[slot.stage].width
    )  # a scale each, besides the shift
    return sum(block_weights(space, slot, kernel=kernel, expand=expand)) + normed


def block_live(space: SearchSpace, slot: BlockPosition, *, kernel: int, expand: float, size: int) -> int:
    """The most values that one elastic block keeps at once; ``kernel`` does not matter."""
    del kernel
    stage, mid = space.stages[slot.stage], mid_channels(slot.in_channels, expand)
    stride = stage.stride if slot.index == 0 else 1
    read, wide = slot.in_channels * size**2, mid * size**2
    narrow, written = (width * (-(-size // stride)) ** 2 for width in (mid, stage.width))
    waiting = read if stride == 1 and slot.in_channels == stage.width else 0  # the residual's input
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


# -- TensorFlow Lite Micro's arena ---


def planned_block(space: SearchSpace, slot: BlockPosition, *, kernel: int, expand: float, size: int) -> int:
    stage, mid = space.stages[slot.stage], mid_channels(slot.in_channels, expand)
    stride = stage.stride if slot.index == 0 else 1
    small = -(-size // stride)
    read, wide, narrow, written = (
        _tensor(width, side)
        for width, side in ((slot.in_channels, size), (mid, size), (mid, small), (stage.width, small))
    )
    waiting = read if stride == 1 and slot.in_channels == stage.width else 0  # the residual's input
    return max(
        read + wide,
        waiting + _convolved(mid, size, mid, kernel=kernel, stride=stride),
        waiting + narrow + written,
        waiting + 2 * written if waiting else 0,
    )


def planned_ends(space: SearchSpace, resolution: int, *, num_classes: int, in_chans: int) -> int:
    stem, head = space.stem, space.head
    sizes = space.sizes(resolution)
    begun, first = (_tensor(width, sizes[0]) for width in (stem.width, stem.first_width))
    wide, pooled, features = _tensor(head.width, sizes[-1]), _tensor(head.width, 1), _tensor(head.features, 1)
    return max(
        _convolved(in_chans, resolution, stem.width, kernel=3, stride=stem.stride),
        2 * begun,
        begun + first * (2 if stem.width == stem.first_width else 1),
        _tensor(space.stages[-1].width, sizes[-1]) + wide,
        wide + pooled if sizes[-1] > 1 else 0,
        pooled + features,
        2 * features,
        features + _tensor(num_classes, 1),
    )


def _convolved(in_width: int, size: int, out_width: int, *, kernel: int, stride: int) -> int:
    """The most that a convolution keeps, with the padding before it where TensorFlow Lite has no such padding."""
    read, written = _tensor(in_width, size), _tensor(out_width, -(-size // stride))
    if stride == 1 or size % 2 or kernel == 1:
        return read + written
    padded = _tensor(in_width, size + kernel - 2)
    return padded + max(read, written)


def _tensor(width: int, side: int) -> int:
    return -(-width * side**2 // 16) * 16


# -- RAM of the C program ---


def _moment(values: Iterable[int], scratch: int = 0) -> int:
    return -(-(sum(_aligned(value) for value in values) + _aligned(scratch)) // 16) * 16


def program_block(
    space: SearchSpace, slot: BlockPosition, *, kernel: int, expand: float, size: int, vectors: bool
) -> int:
    stage, mid = space.stages[slot.stage], mid_channels(slot.in_channels, expand)
    stride = stage.stride if slot.index == 0 else 1
    out = (-(-size // stride)) ** 2
    given, wide, narrow, wanted = slot.in_channels * size**2, mid * size**2, mid * out, stage.width * out
    kept = [given] if stride == 1 and slot.in_channels == stage.width else []
    scratch = convolution_scratch(kernel, mid, depthwise=True, vectors=vectors)
    moments = [_moment([given, wide]), _moment([*kept, wide, narrow], scratch), _moment([*kept, narrow, wanted])]
    if kept:
        moments.append(_moment([given, wanted, wanted]))
    return max(moments)


def program_fixed(space: SearchSpace, resolution: int, *, in_chans: int, vectors: bool) -> int:
    stem, head, sizes = space.stem, space.head, space.sizes(resolution)
    first, last = sizes[0] ** 2, sizes[-1] ** 2
    begun, wanted = stem.width * first, stem.first_width * first
    kept: Sequence[int] = [begun] if stem.width == stem.first_width else []
    read, wide = space.stages[-1].width * last, head.width * last
    return max(
        _moment([begun], convolution_scratch(3, in_chans, depthwise=False, vectors=vectors)),
        _moment([begun, begun], convolution_scratch(3, stem.width, depthwise=True, vectors=vectors)),
        _moment([*kept, begun, wanted]),
        _moment([*kept, wanted, *kept]),
        _moment([read, wide]),
        _moment([wide, head.width], 0 if vectors else 4 * head.width),
        _moment([head.width, head.features]),
    )


def _aligned(size: int) -> int:
    return -(-size // 4) * 4


# -- instructions ---


def block_operators(
    space: SearchSpace, slot: BlockPosition, *, kernel: int, expand: float, size: int
) -> list[OperatorShape]:
    """The operators of one elastic block that reads a map of ``size`` x ``size``."""
    stage, mid = space.stages[slot.stage], mid_channels(slot.in_channels, expand)
    stride = stage.stride if slot.index == 0 else 1
    narrow = conv(size, mid, mid, kernel=kernel, stride=stride, depthwise=True)
    out = -(-size // stride)
    operators = [conv(size, slot.in_channels, mid), narrow, conv(out, mid, stage.width)]
    if stride == 1 and slot.in_channels == stage.width:
        operators.append(OperatorShape("add", 0, out * out, 0, stage.width))
    return operators


def fixed_operators(space: SearchSpace, resolution: int, *, num_classes: int, in_chans: int) -> list[OperatorShape]:
    """The operators of stem and head."""
    stem, head, sizes = space.stem, space.head, space.sizes(resolution)
    first, last = sizes[0], sizes[-1]
    operators = [
        conv(resolution, in_chans, stem.width, kernel=3, stride=stem.stride),
        conv(first, stem.width, stem.width, kernel=3, depthwise=True),
        conv(first, stem.width, stem.first_width),
        conv(last, space.stages[-1].width, head.width),
        OperatorShape("pool", 0, last * last, 0, head.width),
        conv(1, head.width, head.features),
        OperatorShape("linear", 0, 1, head.features, num_classes),
    ]
    if stem.width == stem.first_width:
        operators.append(OperatorShape("add", 0, first * first, 0, stem.width))
    return operators


# -- names in the published tables ---


def fixed_names(space: SearchSpace, resolution: int, num_classes: int, in_chans: int) -> list[str]:
    stem, head, sizes = space.stem, space.head, space.sizes(resolution)
    first, last = sizes[0], sizes[-1]
    width, skip, act = space.stages[-1].width, stem.width == stem.first_width, stem.first_act
    return [
        _name("Conv", (resolution, in_chans), (first, stem.width)),
        _name("expanded_conv", (first, stem.width), (first, stem.first_width))
        + f"-expand:{stem.width}-kernel:3-stride:1-idskip:{int(skip)}-se:0-hs:{int(act == 'hard_swish')}",
        _name("Conv_1", (last, width), (last, head.width)),
        _name("AvgPool2D", (last, head.width), (1, head.width)),
        _name("Conv_2", (1, head.width), (1, head.features)),
        f"Logits-input:1x1x{head.features}-output:{num_classes}",
    ]


def block_name(space: SearchSpace, slot: BlockPosition, kernel: int, expand: float, size: int) -> str:
    stage, mid = space.stages[slot.stage], mid_channels(slot.in_channels, expand)
    stride = stage.stride if slot.index == 0 else 1
    skip = stride == 1 and slot.in_channels == stage.width
    return (
        _name("expanded_conv", (size, slot.in_channels), (-(-size // stride), stage.width))
        + f"-expand:{mid}-kernel:{kernel}-stride:{stride}-idskip:{int(skip)}"
        + f"-se:{int(stage.se)}-hs:{int(stage.act == 'hard_swish')}"
    )


def _name(operator: str, read: tuple[int, int], written: tuple[int, int]) -> str:
    given, made = (f"{size}x{size}x{width}" for size, width in (read, written))
    return f"{operator}-input:{given}-output:{made}"
