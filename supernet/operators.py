"""A part of a network (stem, block, head) as a list of operators, and its costs as folds over that list.

The list holds channels, kernels and strides. The side of the part's square input map is an argument of the
folds: an integer, or an integer array of many sides at once, for which costs are arrays, too.

As in a deployed network, activation functions work in place and batch norms are folded into the convolution
before them, so both are fields of the operator that they follow. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

Kind = Literal["conv", "depthwise", "linear", "max_pool", "pool", "add", "mul", "pad", "reshape"]
Side: TypeAlias = int | np.ndarray
WITH_WEIGHTS = ("conv", "depthwise", "linear")


class Operator(NamedTuple):
    """One operator, with one output tensor.

    Attributes:
        kind: ``"pool"`` averages a whole map to one position. Only lowered lists have ``"pad"`` and
            ``"reshape"``.
        inputs: indices of the tensors that it reads. Tensor 0 is the part's input, tensor ``i + 1`` the
            output of operator ``i``.
        channels: of the output.
        kernel, stride, groups: of a convolution (a depthwise one has as many groups as channels) or
            ``"max_pool"``.
        padding: on every side of the map; of ``"pad"``, the sum of both sides.
        norm: whether a batch norm follows.
        bias: whether the operator has a bias of its own.
        act: the activation function that follows, by its name in spaces; empty for none.
    """

    kind: Kind
    inputs: tuple[int, ...]
    channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    padding: int = 0
    norm: bool = False
    bias: bool = False
    act: str = ""


class Shape(NamedTuple):
    """The shape of a square feature map, or with ``side`` 1 of a vector."""

    channels: int
    side: Side

    @property
    def positions(self) -> Side:
        return self.side * self.side

    @property
    def size(self) -> Side:
        return self.channels * self.side * self.side


@dataclass(frozen=True)
class Operators:
    """The operators of a part in the order in which they run, and the channels of the part's input."""

    in_channels: int
    operators: tuple[Operator, ...]

    def __iter__(self) -> Iterator[Operator]:
        return iter(self.operators)

    def __len__(self) -> int:
        return len(self.operators)

    def shapes(self, side: Side) -> list[Shape]:
        """The shape of every tensor; the first is the part's input, whose side is ``side``."""
        shapes = [Shape(self.in_channels, side)]
        for operator in self.operators:
            shapes.append(Shape(operator.channels, _out_side(operator, shapes[operator.inputs[0]].side)))
        return shapes

    def read_channels(self, operator: Operator) -> int:
        """Channels of the first tensor that ``operator`` reads."""
        tensor = operator.inputs[0]
        return self.operators[tensor - 1].channels if tensor else self.in_channels


class Builder:
    """Collects operators in the order of a forward pass; each call returns the index of the operator's output."""

    def __init__(self, in_channels: int) -> None:
        self._in_channels = in_channels
        self._operators: list[Operator] = []

    def add(self, operator: Operator) -> int:
        self._operators.append(operator)
        return len(self._operators)

    def conv(self, x: int, channels: int, *, kernel: int = 1, stride: int = 1, norm: bool = True, act: str = "") -> int:
        """A convolution, padded by half its kernel, with either a batch norm or a bias."""
        return self.add(
            Operator("conv", (x,), channels, kernel, stride, 1, kernel // 2, norm=norm, bias=not norm, act=act)
        )

    def depthwise(self, x: int, channels: int, *, kernel: int, stride: int, act: str) -> int:
        """A depthwise convolution with a batch norm, padded by half its kernel."""
        return self.add(
            Operator("depthwise", (x,), channels, kernel, stride, channels, kernel // 2, norm=True, act=act)
        )

    def done(self) -> Operators:
        return Operators(self._in_channels, tuple(self._operators))


def macs(part: Operators, side: Side) -> Side:
    """Multiply-accumulates of convolutions and linear layers, for one image."""
    shapes = part.shapes(side)
    return sum(
        _weights(operator, shapes[operator.inputs[0]].channels) * shape.positions
        for operator, shape in zip(part, shapes[1:], strict=True)
        if operator.kind in WITH_WEIGHTS
    )


def weights(part: Operators) -> int:
    """Weights of convolutions and linear layers, biases left out."""
    return sum(_weights(operator, part.read_channels(operator)) for operator in part if operator.kind in WITH_WEIGHTS)


def biases(part: Operators) -> int:
    """Biases of the deployed network: a folded batch norm makes one a channel."""
    return sum(operator.channels for operator in part if operator.norm or operator.bias)


def params(part: Operators) -> int:
    """Trainable parameters: weights, biases, and a scale and a shift a channel of a batch norm."""
    return weights(part) + sum(operator.channels * (operator.bias + 2 * operator.norm) for operator in part)


def lifetimes(part: Operators) -> list[tuple[int, int]]:
    """For each tensor the first and the last operator during which it lives: its writer, and its last reader.

    The part's input lives from the first operator on.
    """
    last_reader = {tensor: step for step, operator in enumerate(part) for tensor in operator.inputs}
    written_by = (0, *range(len(part)))
    return [(first, last_reader.get(tensor, first)) for tensor, first in enumerate(written_by)]


def moments(lifetimes: Sequence[tuple[int, int]], sizes: Sequence[Side]) -> list[Side]:
    """The sum of the ``sizes`` of the tensors that live at each step."""
    living = list(zip(lifetimes, sizes, strict=True))
    steps = range(1 + max((last for _, last in lifetimes), default=-1))
    return [sum(size for (first, last), size in living if first <= step <= last) for step in steps]


def peak_activation(part: Operators, side: Side) -> Side:
    """The largest number of values that live at once: inputs and output of an operator, and inputs of later ones."""
    return largest(moments(lifetimes(part), [shape.size for shape in part.shapes(side)]))


def largest(sizes: Sequence[Side]) -> Side:
    """The largest of ``sizes``; of arrays, elementwise."""
    return reduce(np.maximum, sizes)


def _weights(operator: Operator, read_channels: int) -> int:
    return read_channels // operator.groups * operator.kernel**2 * operator.channels


def _out_side(operator: Operator, side: Side) -> Side:
    if operator.kind in ("conv", "depthwise", "max_pool"):
        return (side + 2 * operator.padding - operator.kernel) // operator.stride + 1
    if operator.kind == "pad":
        return side + operator.padding
    return side * 0 + 1 if operator.kind == "pool" else side
