"""The memory that a network needs on a device: flash for its weights, RAM for its activations."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ofa.export.quantization.plan import ALIGNMENT
from ofa.export.tflite.lowering import lowered
from ofa.predictors.costs.counts import at_each_side, fold_table, weight_bytes
from ofa.predictors.costs.table import Table
from ofa.supernet.integers import round_up
from ofa.supernet.operators import Operators, lifetimes, moments, peak_activation
from ofa.supernet.space import SearchSpace

_BIAS_BYTES = 4  # float32, or the int32 of a quantised network


def flash(space: SearchSpace, *, num_classes: int, in_chans: int = 3, bits: Literal[32, 8] = 32) -> Table:
    """Bytes of weights and biases in the deployed network, batch norms folded into the convolutions.

    ``bits=32``: float32. ``bits=8``: one byte for each weight, and int32 biases. The description of the
    graph and quantisation scales, a few bytes a channel, are not included. Raises ``ValueError`` for other
    ``bits``.
    """
    fold = weight_bytes(_bytes(bits), _BIAS_BYTES)
    return fold_table(space, "flash", "bytes", fold, num_classes=num_classes, in_chans=in_chans, info={"bits": bits})


def peak_memory(
    space: SearchSpace,
    *,
    num_classes: int,
    in_chans: int = 3,
    bits: Literal[32, 8] = 32,
    planner: Literal["", "tflm"] = "",
) -> Table:
    """Bytes of activations that live at once during one inference, at the step that needs the most.

    Operators run one after the other. While one runs, its inputs and its output live, and every tensor that
    a later operator reads: the input of a residual block until the addition, a map until its
    squeeze-and-excite gate is known. The network's input and output count. Batch norms are folded, and
    activation functions work in place. Each value takes 4 bytes (``bits=32``) or one (``bits=8``).

    Weights, scratch buffers and the runtime itself are not included. A runtime that runs operators in
    another order, or fuses them, needs another amount.

    ``planner="tflm"`` (with ``bits=8``) gives exactly the activation arena ("head") of TensorFlow Lite
    Micro for the file that ``quantize_tflite`` writes. Its tensors start at multiples of 16 bytes. Where a
    stride-2 convolution reads a map of even side, the padded copy of its input lives beside the input. The
    classifier reads a reshaped copy. Scratch buffers of kernels (CMSIS-NN's) are not included.

    Raises ``ValueError`` for other ``bits``, and with ``"tflm"`` for a space with other operators than
    convolutions, ReLU, ReLU6 and additions.
    """
    per_value = _bytes(bits)
    info: dict[str, Any] = {"bits": bits}
    if planner:
        _check_planned(space, bits=bits, planner=planner)
        fold, info["planner"] = at_each_side(arena), planner
    else:

        def fold(part: Operators, sides: np.ndarray) -> np.ndarray:
            return per_value * peak_activation(part, sides)

    head = {"num_classes": num_classes, "in_chans": in_chans}
    return fold_table(space, "peak_memory", "bytes", fold, **head, combine="max", info=info)


def arena(part: Operators, side: int) -> int:
    """Bytes of TensorFlow Lite Micro's arena that live at once while ``part`` runs as int8."""
    operators = lowered(part, side)
    return max(moments(lifetimes(operators), [round_up(shape.size, ALIGNMENT) for shape in operators.shapes(side)]))


def _check_planned(space: SearchSpace, *, bits: int, planner: str) -> None:
    if planner != "tflm" or bits != 8:
        raise ValueError(f"planner is {planner!r} with bits {bits}; there is 'tflm' with bits 8")
    acts = space.operators - {"squeeze_excite"}
    if not space.operators <= {"relu", "relu6"}:
        raise ValueError(
            "memory of TensorFlow Lite Micro is known for spaces without squeeze-and-excite whose activations are all "
            f"relu or relu6 (such as the preset mcu); this space has {', '.join(sorted(acts))}"
            f"{' and squeeze-and-excite' if 'squeeze_excite' in space.operators else ''}"
        )


def _bytes(bits: int) -> int:
    if bits not in (32, 8):
        raise ValueError(f"bits is {bits}; it must be 32 (float32) or 8 (int8)")
    return bits // 8
