"""What a network needs of a device's memory: flash for its weights, RAM for its activations."""

from __future__ import annotations

from types import ModuleType
from typing import Literal

import numpy as np

from ofa.predictors.cost import CostTable, fill_blocks
from ofa.supernet.families import mobilenetv3_counts
from ofa.supernet.space import SearchSpace

_COUNTS: dict[str, ModuleType] = {"mobilenetv3": mobilenetv3_counts}
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


def peak_memory(space: SearchSpace, *, num_classes: int, in_chans: int = 3, bits: Literal[32, 8] = 32) -> CostTable:
    """Bytes of activations that live at once while one image is inferred, at the moment that needs the most.

    Operators run one after the other. While one runs, its inputs and its output live, and whatever a later operator
    still reads: a residual's input until its addition, a map until its squeeze-and-excite gate is known. The network's
    input and output count; batch norms are folded and activation functions work in place. Each value takes 4 bytes
    (``bits=32``) or one (``bits=8``). Weights, scratch buffers and the runtime itself come on top of it; a runtime that
    runs operators in another order, or computes one inside another's memory, needs another amount.

    Raises ``ValueError`` for other ``bits``.
    """
    per_value, counts = _bytes(bits), _COUNTS[space.family]
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


def _bytes(bits: int) -> int:
    if bits not in (32, 8):
        raise ValueError(f"bits is {bits}; it must be 32 (float32) or 8 (int8)")
    return bits // 8
