"""Lowers a list of operators to what a TFLite file holds: explicit padding, and reshapes of maps to vectors."""

from __future__ import annotations

from ofa.supernet.integers import ceil_div
from ofa.supernet.operators import Operator, Operators


class Axis:
    """One axis of a convolution.

    Attributes:
        outputs: the output size.
        same: whether TFLite's padding SAME pads by the same amounts.
        explicit: the padding before and after that must be written if it does not.
    """

    def __init__(self, size: int, span: int, stride: int, before: int, after: int) -> None:
        self.outputs = (size + before + after - span) // stride + 1
        same_padding = max((ceil_div(size, stride) - 1) * stride + span - size, 0)
        self.same = self.outputs == ceil_div(size, stride) and before == same_padding // 2
        # Padding that no window reads is left out: less memory, same result.
        used = (self.outputs - 1) * stride + span - size
        self.explicit = (before, min(after, max(used - before, 0)))


def lowered(part: Operators, side: int) -> Operators:
    """The operators that ``part`` runs as a TFLite file, when its input is a map of ``side`` x ``side``.

    A convolution or pool whose padding TFLite does not have follows an explicit pad, and a linear layer a reshape.
    The average of a map of one position is left out.
    """
    shapes, operators = part.shapes(side), []
    tensors = [0]  # for each tensor of the part, its number in the lowered list

    def append(operator: Operator) -> int:
        operators.append(operator)
        return len(operators)

    for operator in part:
        inputs = tuple(tensors[tensor] for tensor in operator.inputs)
        input_shape = shapes[operator.inputs[0]]
        if operator.kind == "pool" and input_shape.side == 1:
            tensors.append(inputs[0])
            continue
        if operator.kind in ("conv", "depthwise", "max_pool") and not operator.same:
            axis = Axis(input_shape.side, operator.kernel, operator.stride, operator.padding, operator.padding)
            if not axis.same and sum(axis.explicit):
                inputs = (append(Operator("pad", inputs, input_shape.channels, padding=sum(axis.explicit))),)
                operator = operator._replace(padding=0)
        elif operator.kind == "linear":
            inputs = (append(Operator("reshape", inputs, input_shape.channels)),)
        tensors.append(append(operator._replace(inputs=inputs)))
    return Operators(part.in_channels, tuple(operators), part.in_tokens)
