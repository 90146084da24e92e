"""What a network needs of a device's memory: flash for its weights, RAM for its activations."""

from __future__ import annotations

from types import ModuleType
from typing import Literal

import numpy as np

from ofa.predictors.costs.table import CostTable, fill_blocks
from ofa.supernet.families import mobilenetv3_counts
from ofa.supernet.space import SearchSpace, Slot, mid_width

_COUNTS: dict[str, ModuleType] = {"mobilenetv3": mobilenetv3_counts}
_ALIGNMENT = 16  # of TensorFlow Lite Micro's tensors
_BIAS_BYTES = 4  # float32, or the int32 of a quantised network


def flash(space: SearchSpace, *, num_classes: int, in_chans: int = 3, bits: Literal[32, 8] = 32) -> CostTable:
    """Bytes of weights and biases in the deployed network, batch norms folded into the convolutions.

    ``bits=32``: float32. ``bits=8``: a byte a weight, and int32 biases. The graph's own description and quantisation
    scales come on top of it, a few bytes a channel. Raises ``ValueError`` for other ``bits``.
    """
    per_weight, counts = _bytes(bits), _COUNTS[space.family]

    def total(weights: int, biases: int) -> int:
        return weights * per_weight + biases * _BIAS_BYTES

    blocks = fill_blocks(space, lambda slot, k, e, _size: total(*counts.block_weights(space, slot, kernel=k, expand=e)))
    fixed = total(*counts.fixed_weights(space, num_classes=num_classes, in_chans=in_chans))
    return CostTable(
        space, "flash", "bytes", np.full(len(space.resolutions), float(fixed)), blocks, info={"bits": bits}
    )


def peak_memory(
    space: SearchSpace,
    *,
    num_classes: int,
    in_chans: int = 3,
    bits: Literal[32, 8] = 32,
    planner: Literal["", "tflm"] = "",
) -> CostTable:
    """Bytes of activations that live at once while one image is inferred, at the moment that needs the most.

    Operators run one after the other. While one runs, its inputs and its output live, and whatever a later operator
    still reads: a residual's input until its addition, a map until its squeeze-and-excite gate is known. The network's
    input and output count; batch norms are folded and activation functions work in place. Each value takes 4 bytes
    (``bits=32``) or one (``bits=8``). Weights, scratch buffers and the runtime itself come on top of it; a runtime that
    runs operators in another order, or computes one inside another's memory, needs another amount.

    ``planner="tflm"`` (with ``bits=8``): exactly the activation arena ("head") of TensorFlow Lite Micro for the file
    that ``quantize_tflite`` writes. Its tensors start at multiples of 16 bytes; where a stride-2 convolution meets an
    even size, the padded copy of its input lives beside the input; the classifier reads a reshaped copy. Kernels that
    need scratch buffers (CMSIS-NN's) need them on top.

    Raises ``ValueError`` for other ``bits``, and with ``"tflm"`` for a space with other operators than convolutions,
    ReLU, ReLU6 and additions.
    """
    per_value, counts = _bytes(bits), _COUNTS[space.family]
    if planner:
        return _planned(space, num_classes=num_classes, in_chans=in_chans, bits=bits, planner=planner)
    blocks = fill_blocks(space, lambda slot, k, e, size: counts.block_live(space, slot, kernel=k, expand=e, size=size))
    fixed = [
        counts.fixed_live(space, resolution, num_classes=num_classes, in_chans=in_chans)
        for resolution in space.resolutions
    ]
    return CostTable(
        space,
        "peak_memory",
        "bytes",
        per_value * np.array(fixed, np.float64),
        per_value * blocks,
        info={"bits": bits},
        combine="max",
    )


def _planned(space: SearchSpace, *, num_classes: int, in_chans: int, bits: int, planner: str) -> CostTable:
    if planner != "tflm" or bits != 8:
        raise ValueError(f"planner is {planner!r} with bits {bits}; there is 'tflm' with bits 8")
    acts = {space.act, space.stem.first_act, *(stage.act for stage in space.stages)}
    if any(stage.se for stage in space.stages) or not acts <= {"relu", "relu6"}:
        raise ValueError(
            "memory of TensorFlow Lite Micro is known for spaces without squeeze-and-excite whose activations are all "
            f"relu or relu6 (such as the preset mcu); this space has {', '.join(sorted(acts))}"
            f"{' and squeeze-and-excite' if any(stage.se for stage in space.stages) else ''}"
        )
    fixed = [
        _planned_ends(space, resolution, num_classes=num_classes, in_chans=in_chans) for resolution in space.resolutions
    ]
    blocks = fill_blocks(space, lambda slot, k, e, size: _planned_block(space, slot, kernel=k, expand=e, size=size))
    info = {"bits": bits, "planner": planner}
    return CostTable(space, "peak_memory", "bytes", np.array(fixed, np.float64), blocks, info=info, combine="max")


def _planned_block(space: SearchSpace, slot: Slot, *, kernel: int, expand: float, size: int) -> int:
    stage, mid = space.stages[slot.stage], mid_width(slot.in_width, expand)
    stride = stage.stride if slot.index == 0 else 1
    small = -(-size // stride)
    read, wide, narrow, written = (
        _tensor(width, side) for width, side in ((slot.in_width, size), (mid, size), (mid, small), (stage.width, small))
    )
    waiting = read if stride == 1 and slot.in_width == stage.width else 0  # the residual's input
    return max(
        read + wide,
        waiting + _convolved(mid, size, mid, kernel=kernel, stride=stride),
        waiting + narrow + written,
        waiting + 2 * written if waiting else 0,
    )


def _planned_ends(space: SearchSpace, resolution: int, *, num_classes: int, in_chans: int) -> int:
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
    return -(-width * side**2 // _ALIGNMENT) * _ALIGNMENT


def _bytes(bits: int) -> int:
    if bits not in (32, 8):
        raise ValueError(f"bits is {bits}; it must be 32 (float32) or 8 (int8)")
    return bits // 8
