"""What an operation of a forward pass that is no layer does to channels: additions, means, flattening, permutations."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from ofa.supernet.derived.walk import Value, Walk
from ofa.supernet.operators import Operator

_BINARY = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    "add": "add",
    "add_": "add",
    operator.mul: "mul",
    operator.imul: "mul",
    torch.mul: "mul",
    "mul": "mul",
    "mul_": "mul",
}
_RESHAPES = {"reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", torch.flatten, torch.reshape}
_UNCHANGED = {"contiguous", "to", "float", "clone", "type_as"}
_ACTIVATIONS = {F.relu: "relu", F.gelu: "gelu", F.silu: "swish", F.sigmoid: "sigmoid", torch.sigmoid: "sigmoid"}


def note_function(walk: Walk, node: fx.Node, inputs: list[Value], result: Tensor) -> Value | None:
    """The value of a node that is no layer; ``None`` for an operation that is not known."""
    target = node.target
    if target in _BINARY:
        return _binary(walk, node, _BINARY[target], inputs, result)
    if len(inputs) != 1:
        return None
    (value,), source = inputs, node.all_input_nodes[0]
    before, after = walk.shape(source), tuple(result.shape)
    if target in _ACTIVATIONS:
        name = _ACTIVATIONS[target]
        return value if walk.extend(value, act=name) else _act(walk, value, name)
    if target in _UNCHANGED and before == after:
        return value
    if target in ("mean", torch.mean):
        return _mean(walk, value, before, after)
    if target in ("permute", "transpose", torch.permute, torch.transpose):
        return _moved(node, value, len(before))
    if target in _RESHAPES:
        return _reshaped(value, before, after)
    return None


def _act(walk: Walk, value: Value, name: str) -> Value:
    return walk.add(Operator("act", (value.tensor,), walk.channels(value), act=name), value.axis, value.dim)


def _binary(walk: Walk, node: fx.Node, kind: str, inputs: list[Value], result: Tensor) -> Value | None:
    """An addition or a product. Its tensors' channels are joined; a parameter's make it a layer scale."""
    where = f"{node.name} of {walk.network.names.get(walk.part, '')}"
    if len(inputs) == 1:  # and a number
        return inputs[0]
    if len(inputs) != 2:
        return None
    one, other = inputs if inputs[0].tensor >= 0 else inputs[::-1]
    if one.dim - len(walk.shape(node.all_input_nodes[0])) != other.dim - len(walk.shape(node.all_input_nodes[1])):
        return None
    axis = walk.network.axes.join(one.axis, other.axis, where=where)
    if other.tensor < 0:
        operation = Operator("scale", (one.tensor,), walk.channels(one))
    else:
        operation = Operator(kind, (one.tensor, other.tensor), walk.channels(one))
    return walk.add(operation, axis, one.dim)


def _mean(walk: Walk, value: Value, before: tuple[int, ...], after: tuple[int, ...]) -> Value | None:
    """Over the whole map: what is left is one position."""
    keeps = len(before) == len(after)
    expected = tuple(size if dim in (0, value.dim) else 1 for dim, size in enumerate(before))
    if (keeps and after != expected) or (not keeps and after != (before[0], before[value.dim])):
        return None
    pooled = Operator("pool", (value.tensor,), walk.channels(value))
    return walk.add(pooled, value.axis, value.dim if keeps else 1)


def _moved(node: fx.Node, value: Value, ndim: int) -> Value | None:
    """A permutation: channels are another dimension now."""
    numbers = [argument for argument in node.args[1:] if not isinstance(argument, fx.Node)]
    order = list(numbers[0]) if numbers and isinstance(numbers[0], tuple | list) else numbers
    if node.target in ("transpose", torch.transpose):
        first, second = (int(number) % ndim for number in order)
        order = list(range(ndim))
        order[first], order[second] = second, first
    return value._replace(dim=[int(number) % ndim for number in order].index(value.dim))


def _reshaped(value: Value, before: tuple[int, ...], after: tuple[int, ...]) -> Value | None:
    """Where channels stay one dimension of their own, with as many values before and after them as before."""
    left, right = _product(before[: value.dim]), _product(before[value.dim + 1 :])
    for dim, size in enumerate(after):
        if size == before[value.dim] and (_product(after[:dim]), _product(after[dim + 1 :])) == (left, right):
            return value._replace(dim=dim)
    return None


def _product(sizes: tuple[int, ...]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
