"""RAM and flash of the program that ``export_c`` writes, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType

import numpy as np

from ofa.export.microcontroller.memory import aligned, convolution_scratch
from ofa.predictors.costs.table import CostTable, fill_blocks
from ofa.supernet.families import mobilenetv3_counts
from ofa.supernet.space import SearchSpace, Slot, mid_width

_COUNTS: dict[str, ModuleType] = {"mobilenetv3": mobilenetv3_counts}
# Of CMSIS-NN's deepest kernel, start-up code and bakenn's wrappers, and the few variables of the program itself.
STACK = {"cortex_m4": 800, "cortex_m55": 960}

# CMSIS-NN's kernels and the program's own code, and the calls of each block: bounds of what programs measured.
_CODE = {"cortex_m4": 17350, "cortex_m55": 15800}
_BLOCK_CODE = {"cortex_m4": 390, "cortex_m55": 420}


def ram(space: SearchSpace, *, num_classes: int, in_chans: int = 3, cpu: str = "cortex_m4") -> CostTable:
    """Bytes of RAM that one inference needs on ``cpu`` (``cortex_m4`` or ``cortex_m55``).

    Operators run one after the other. While one runs, its input, its output and CMSIS-NN's scratch memory for it are
    there, and a residual's input until its addition. The image and the logits have buffers of their own. The arena's
    planner can need a little more than the largest moment; it seldom does.

    Raises ``ValueError`` for another ``cpu``.
    """
    _check(cpu)
    vectors = cpu == "cortex_m55"
    blocks = fill_blocks(
        space, lambda slot, k, e, size: _block(space, slot, kernel=k, expand=e, size=size, vectors=vectors)
    )
    fixed = [_fixed(space, resolution, in_chans=in_chans, vectors=vectors) for resolution in space.resolutions]
    # Image and logits come on top of the largest moment; as fixed cost of a maximum they are part of every moment.
    images = np.array([aligned(in_chans * resolution**2) for resolution in space.resolutions], np.float64)
    always = images + aligned(num_classes) + STACK[cpu]
    return CostTable(
        space,
        "ram",
        "bytes",
        np.array(fixed, np.float64) + always,
        blocks + always[:, None, None, None],
        info={"cpu": cpu},
        combine="max",
    )


def flash(space: SearchSpace, *, num_classes: int, in_chans: int = 3, cpu: str = "cortex_m4") -> CostTable:
    """Bytes of flash that the program takes on ``cpu``: weights, their scales, code and what ``main.c`` needs.

    A byte a weight, and 12 a channel: an int32 bias, a multiplier and a shift. The code hangs on the compiler: the
    table bounds that of gcc 12, from above by at most about 2 KB. Raises ``ValueError`` for another ``cpu``.
    """
    _check(cpu)
    counts = _COUNTS[space.family]

    def total(weights: int, biases: int) -> int:
        return weights + 12 * biases

    blocks = fill_blocks(
        space,
        lambda slot, k, e, _size: total(*counts.block_weights(space, slot, kernel=k, expand=e)) + _BLOCK_CODE[cpu],
    )
    fixed = total(*counts.fixed_weights(space, num_classes=num_classes, in_chans=in_chans)) + _CODE[cpu]
    return CostTable(space, "flash", "bytes", np.full(len(space.resolutions), float(fixed)), blocks, info={"cpu": cpu})


def _check(cpu: str) -> None:
    if cpu not in STACK:
        raise ValueError(f"cpu is {cpu!r}; it must be one of {', '.join(STACK)}")


def _moment(values: Iterable[int], scratch: int = 0) -> int:
    return -(-(sum(aligned(value) for value in values) + aligned(scratch)) // 16) * 16


def _block(space: SearchSpace, slot: Slot, *, kernel: int, expand: float, size: int, vectors: bool) -> int:
    stage, mid = space.stages[slot.stage], mid_width(slot.in_width, expand)
    stride = stage.stride if slot.index == 0 else 1
    out = (-(-size // stride)) ** 2
    given, wide, narrow, wanted = slot.in_width * size**2, mid * size**2, mid * out, stage.width * out
    kept = [given] if stride == 1 and slot.in_width == stage.width else []
    scratch = convolution_scratch(kernel, mid, depthwise=True, vectors=vectors)
    moments = [_moment([given, wide]), _moment([*kept, wide, narrow], scratch), _moment([*kept, narrow, wanted])]
    if kept:
        moments.append(_moment([given, wanted, wanted]))
    return max(moments)


def _fixed(space: SearchSpace, resolution: int, *, in_chans: int, vectors: bool) -> int:
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
