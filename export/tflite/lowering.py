"""What of a list of operators TFLite writes in another way: padding that it lacks, and vectors that are maps."""

from __future__ import annotations

from ofa.supernet.integers import ceil_div
from ofa.supernet.operators import Operator, Operators


class Axis:
    """One axis of a convolution: its output size, whether TFLite's SAME pads alike, and the padding to write if not."""

    def __init__(self, size: int, span: int, stride: int, before: int, after: int) -> None:
        self.outputs = (size + before + after - span) // stride + 1
        used = (self.outputs - 1) * stride + span - size  # padding that some window reads
        total = max((ceil_div(size, stride) - 1) * stride + span - size, 0)
        self.same = self.outputs == ceil_div(size, stride) and before == total // 2
        # Padding after the last window is left out: less memory, same result.
        self.explicit = (before, min(after, max(used - before, 0)))


def lowered(part: Operators, side: int) -> Operators:
    """The operators that run of ``part`` as a TFLite file, when it reads a map of ``side`` x ``side``.

    Before a convolution whose padding TFLite lacks there is an explicit one; before a linear layer a reshape; and to
    average a map of one position nothing is done.
    """
    shapes, operators = part.shapes(side), []
    tensors = [0]  # what each tensor of the part is called in the lowered list

    def write(operator: Operator) -> int:
        operators.append(operator)
        return len(operators)

    for operator in part:
        inputs = tuple(tensors[tensor] for tensor in operator.inputs)
        read = shapes[operator.inputs[0]]
        if operator.kind == "pool" and read.side == 1:
            tensors.append(inputs[0])
            continue
        if operator.kind in ("conv", "depthwise"):
            axis = Axis(read.side, operator.kernel, operator.stride, operator.padding, operator.padding)
            if not axis.same and sum(axis.explicit):
                inputs = (write(Operator("pad", inputs, read.channels, padding=sum(axis.explicit))),)
                operator = operator._replace(padding=0)
        elif operator.kind == "linear":
            inputs = (write(Operator("reshape", inputs, read.channels)),)
        tensors.append(write(operator._replace(inputs=inputs)))
    return Operators(part.in_channels, tuple(operators))
