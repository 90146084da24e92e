"""A part of a network (stem, block, head) as a list of operators, and its costs as folds over that list.

The list holds channels, kernels and strides. The side of the part's square input map is an argument of the
folds: an integer, or an integer array of many sides at once, for which costs are arrays, too.

As in a deployed network, activation functions work in place and batch norms are folded into the convolution
before them, so both are fields of the operator that they follow. A reshape, a transpose and a split are views: no
operator stands for them, and what reads a third of the queries, keys and values reads their whole tensor. Nothing
here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ofa.supernet.integers import ceil_div

Kind: TypeAlias = (
    Literal["conv", "depthwise", "linear", "channel_conv", "matmul"]
    | Literal["layer_norm", "scale", "softmax", "act", "add", "mul"]
    | Literal["max_pool", "avg_pool", "blur", "pool", "select", "prepend", "pad", "reshape"]
)
Side: TypeAlias = int | np.ndarray
_MACS = ("conv", "depthwise", "linear", "channel_conv", "matmul", "opaque")
_WITH_KERNEL = ("conv", "depthwise", "max_pool", "avg_pool", "blur")


class Counted(NamedTuple):
    """What an opaque operator does with a map of ``side``: its multiply-accumulates, and what it writes."""

    side: int
    macs: int
    out_side: int
    out_tokens: int


class Operator(NamedTuple):
    """One operator, with one output tensor.

    Attributes:
        kind: by what it does:

            - ``"conv"``, ``"depthwise"``, ``"linear"`` (at every position of a map or sequence), and
              ``"channel_conv"``, one kernel that slides along the channels (efficient channel attention).
            - ``"matmul"``: a product of two tensors, with ``groups`` heads. Queries and keys give ``groups``
              weights for each pair of positions; such weights and values give ``channels`` at each position.
            - ``"layer_norm"``: any norm that is not folded, so it has a tensor of its own. ``"scale"``: a factor
              a channel, such as a layer scale. ``"act"``: an activation that follows no other operator.
            - ``"add"`` and ``"mul"`` of two tensors, or of one and a constant; ``"softmax"``.
            - ``"max_pool"``, ``"avg_pool"`` and ``"blur"`` (fixed weights) with a kernel. ``"pool"`` averages all
              positions to one, ``"select"`` takes one, such as the class token. ``"prepend"`` puts ``tokens``
              before all positions.
            - ``"pad"`` and ``"reshape"`` only in lowered lists.
            - ``"opaque"``: a layer whose operators are not known; ``counted`` has what was counted of it.
        inputs: indices of the tensors that it reads. Tensor 0 is the part's input, tensor ``i + 1`` the
            output of operator ``i``.
        channels: of the output; of the product of queries and keys, those that it sums over.
        kernel, stride: of what has a kernel.
        groups: of a convolution (a depthwise one has as many as channels); heads of ``"matmul"``, and of a norm
            or scale that has one set of parameters for all heads.
        padding: on every side of the map; of ``"pad"``, the sum of both sides.
        norm: whether a batch norm follows.
        bias: whether the operator has a bias of its own; of ``"layer_norm"``, a shift.
        act: the activation function that follows, by its name in spaces; empty for none.
        ceil: whether the last window of a pool may be partly outside the padded map.
        tokens: positions that ``"prepend"`` adds.
        extra_params: trainable parameters of no operator here, such as a class token or position embedding.
        counted: of ``"opaque"``, one entry for each side of the map that it may read.
        same: whether the padding is TensorFlow's: the output's side is the input's by the stride, rounded up.
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
    ceil: bool = False
    tokens: int = 0
    extra_params: int = 0
    counted: tuple[Counted, ...] = ()
    same: bool = False


class Shape(NamedTuple):
    """The shape of a square feature map, or with ``side`` 1 of a vector.

    ``tokens``: positions beside those of the map. ``pairs``: whether there is an entry for each pair of positions.
    """

    channels: int
    side: Side
    tokens: int = 0
    pairs: bool = False

    @property
    def positions(self) -> Side:
        """Positions, or pairs of them."""
        single = self.side * self.side + self.tokens
        return single * single if self.pairs else single

    @property
    def size(self) -> Side:
        """Values."""
        return self.channels * self.positions


@dataclass(frozen=True)
class Operators:
    """The operators of a part in the order in which they run; channels of the part's input, and the positions beside
    its map."""

    in_channels: int
    operators: tuple[Operator, ...]
    in_tokens: int = 0

    def __iter__(self) -> Iterator[Operator]:
        return iter(self.operators)

    def __len__(self) -> int:
        return len(self.operators)

    def shapes(self, side: Side) -> list[Shape]:
        """The shape of every tensor; the first is the part's input, whose side is ``side``."""
        shapes = [Shape(self.in_channels, side, self.in_tokens)]
        for operator in self.operators:
            shapes.append(_written_shape(operator, shapes[operator.inputs[0]]))
        return shapes

    def read_channels(self, operator: Operator) -> int:
        """Channels of the first tensor that ``operator`` reads."""
        tensor = operator.inputs[0]
        return self.operators[tensor - 1].channels if tensor else self.in_channels


class Builder:
    """Collects operators in the order of a forward pass; each call returns the index of the operator's output."""

    def __init__(self, in_channels: int, *, in_tokens: int = 0) -> None:
        self._in_channels, self._in_tokens = in_channels, in_tokens
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
        return Operators(self._in_channels, tuple(self._operators), self._in_tokens)


def macs(part: Operators, side: Side) -> Side:
    """Multiply-accumulates of convolutions, linear layers and the two products of attention, for one image.

    Nothing else counts: no norm, activation, pool, scale, or blur.
    """
    shapes = part.shapes(side)
    return sum(
        _macs(operator, shapes[operator.inputs[0]], written)
        for operator, written in zip(part, shapes[1:], strict=True)
        if operator.kind in _MACS
    )


def weights(part: Operators) -> int:
    """Trainable parameters but biases and batch norms, which are folded: weights, scales and ``extra_params``."""
    return sum(_weights(operator, part.read_channels(operator)) + operator.extra_params for operator in part)


def biases(part: Operators) -> int:
    """Biases of the deployed network: a folded batch norm makes one a channel."""
    return sum(_vector(operator) for operator in part if operator.norm or operator.bias)


def params(part: Operators) -> int:
    """Trainable parameters: weights, biases, and a scale and a shift a channel of a batch norm."""
    return weights(part) + sum(_vector(operator) * (operator.bias + 2 * operator.norm) for operator in part)


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
    if operator.kind in ("conv", "depthwise", "linear"):
        return read_channels // operator.groups * operator.kernel**2 * operator.channels
    if operator.kind == "channel_conv":
        return operator.kernel
    return _vector(operator) if operator.kind in ("layer_norm", "scale") else 0


def _vector(operator: Operator) -> int:
    """Parameters of an operator that has one a channel; a norm or scale may have them for each head alike."""
    return operator.channels // operator.groups if operator.kind in ("layer_norm", "scale") else operator.channels


def _macs(operator: Operator, read: Shape, written: Shape) -> Side:
    if operator.kind == "matmul":
        return operator.channels * (written if written.pairs else read).positions
    if operator.kind == "channel_conv":
        return operator.kernel * written.size
    if operator.kind == "opaque":
        return _counted(operator, read.side, "macs")
    return _weights(operator, read.channels) * written.positions


def _written_shape(operator: Operator, read: Shape) -> Shape:
    """The shape of the output of ``operator``, whose first input is ``read``."""
    if operator.kind in ("pool", "select"):
        return Shape(operator.channels, read.side * 0 + 1)
    if operator.kind == "matmul":
        channels = operator.channels if read.pairs else operator.groups
        return Shape(channels, read.side, read.tokens, not read.pairs)
    if operator.kind == "opaque":
        tokens = max(counted.out_tokens for counted in operator.counted)
        return Shape(operator.channels, _counted(operator, read.side, "out_side"), tokens)
    return Shape(operator.channels, _out_side(operator, read.side), read.tokens + operator.tokens, read.pairs)


def _counted(operator: Operator, side: Side, name: str) -> Side:
    """A figure of an opaque operator at each side. Raises ``ValueError`` for a side at which it was not counted."""
    figures = {counted.side: getattr(counted, name) for counted in operator.counted}
    missing = set(np.ravel(side).tolist()) - set(figures)
    if missing:
        raise ValueError(f"an opaque layer was counted for maps of the sides {sorted(figures)}, not {sorted(missing)}")
    return figures[side] if isinstance(side, int) else np.array([figures[one] for one in side.tolist()])


def _out_side(operator: Operator, side: Side) -> Side:
    if operator.kind == "pad":
        return side + operator.padding
    if operator.kind not in _WITH_KERNEL:
        return side
    if operator.same:
        return ceil_div(side, operator.stride)
    room, stride = side + 2 * operator.padding - operator.kernel, operator.stride
    if not operator.ceil:
        return room // stride + 1
    # The last window must begin inside the map or the padding before it, as torch has it.
    windows = ceil_div(room, stride) + 1
    return windows - ((windows - 1) * stride >= side + operator.padding)
