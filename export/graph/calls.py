"""Functions and methods that a forward calls between layers, as ONNX nodes, one function each.

Each gets the arguments of the call and returns the name of the result, a list of names, or None when it
does not know these arguments.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ofa.export.graph.writer import BATCH, Computed, Writer
from ofa.supernet.integers import ceil_div

Call = Callable[[Writer, tuple[Any, ...], dict[str, Any]], str | list[str] | None]


def _binary(op: str) -> Call:
    def write(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        if len(args) != 2 or kwargs:
            return None
        names = [value.name if isinstance(value, Computed) else _constant(writer, value) for value in args]
        return None if None in names else writer.add(op, names)

    return write


def _constant(writer: Writer, value: Any) -> str | None:
    if isinstance(value, torch.Tensor):
        return writer.weight(_of_one_image(value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return writer.weight(np.float32(value)) if is_number else None


def _of_one_image(value: torch.Tensor) -> torch.Tensor:
    """A constant that was expanded to the batch, for one image."""
    expanded = value.ndim > 1 and value.shape[0] == BATCH and value.stride(0) == 0
    return value[:1] if expanded else value


def _mean(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    x, *more = args
    options = {**dict(zip(("dim", "keepdim"), more, strict=False)), **kwargs}
    dims, keepdims = options.get("dim"), bool(options.get("keepdim", False))
    if dims is None or len(more) > 2 or set(options) - {"dim", "keepdim"}:
        return None
    rank = len(x.shape)
    axes = sorted(axis % rank for axis in ([dims] if isinstance(dims, int) else dims))
    if 0 in axes:
        return None
    if rank == 4 and axes == [2, 3]:
        pooled = writer.pool(x.name)
        return pooled if keepdims else writer.add("Flatten", [pooled])
    return writer.reduce("ReduceMean", x.name, axes, keepdims=keepdims)


def _reshape(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Any reshape that keeps the batch."""
    x, *sizes = args
    sizes = list(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if kwargs or sizes[0] not in (BATCH, -1):
        return None
    return writer.reshape(x.name, *_resolved(x, sizes))


def _resolved(x: Computed, sizes: list[int]) -> list[int]:
    """The sizes of one image, of a reshape with -1."""
    known = int(np.prod([size for size in sizes[1:] if size != -1]))
    count = int(np.prod(x.shape[1:]))
    return [count // known if size == -1 else size for size in sizes[1:]]


def _flatten(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    x, *more = args
    options = {"start_dim": 0, "end_dim": -1, **dict(zip(("start_dim", "end_dim"), more, strict=False)), **kwargs}
    start, end = options["start_dim"], options["end_dim"]
    rank = len(x.shape)
    start, end = start % rank, end % rank
    if start == 0:
        return None
    if (start, end) == (1, rank - 1):
        return writer.add("Flatten", [x.name])
    merged = int(np.prod(x.shape[start : end + 1]))
    return writer.reshape(x.name, *x.shape[1:start], merged, *x.shape[end + 1 :])


def _permute(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    x, *axes = args
    axes = list(axes[0]) if len(axes) == 1 else axes
    axes = [axis % len(x.shape) for axis in axes]
    return writer.transpose(x.name, *axes) if axes[:1] == [0] and not kwargs else None


def _transpose(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    x, first, second = args
    axes = list(range(len(x.shape)))
    axes[first], axes[second] = axes[second], axes[first]
    return writer.transpose(x.name, *axes) if axes[0] == 0 and not kwargs else None


def _concatenate(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Of computed tensors; or of tokens and constants, as a pad and a sum, which hold for any batch size."""
    parts, axis = (*args, kwargs.get("dim", 0))[:2]
    computed = [part for part in parts if isinstance(part, Computed)]
    rank = len(computed[0].shape)
    axis %= rank
    if axis == 0:
        return None
    if len(computed) == len(parts):
        return writer.add("Concat", [part.name for part in parts], axis=axis)
    if len(computed) != 1:
        return None

    index = parts.index(computed[0])
    sizes = [part.shape[axis] for part in parts]
    pads = np.zeros((2, rank), np.int64)
    pads[:, axis] = sum(sizes[:index]), sum(sizes[index + 1 :])
    padded = writer.add("Pad", [computed[0].name, writer.weight(pads.ravel())], mode="constant")
    zeros = torch.zeros(1, *computed[0].shape[1:])
    constants = [zeros if part is computed[0] else _of_one_image(part).float().cpu() for part in parts]
    return writer.with_constant("Add", padded, torch.cat(constants, axis))


def _getitem(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """A token, or a range of tokens."""
    x, index = args
    index = index if isinstance(index, tuple) else (index,)
    if len(index) != 2 or index[0] != slice(None):
        return None
    if isinstance(index[1], int):
        return writer.add("Gather", [x.name, writer.weight(np.array(index[1] % x.shape[1], np.int64))], axis=1)
    if not isinstance(index[1], slice):
        return None
    start, stop, step = index[1].indices(x.shape[1])
    if (start, stop, step) == (0, x.shape[1], 1):
        return x.name
    return writer.slice(x.name, start, stop, axis=1) if step == 1 else None


def _split(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str] | None:
    """Parts along one axis, of given sizes."""
    x, sizes, axis = (*args, kwargs.get("dim", 0))[:3]
    axis %= len(x.shape)
    if axis == 0 or not isinstance(sizes, list | tuple):
        return None
    stops = np.cumsum(sizes)
    return [writer.slice(x.name, stop - size, stop, axis=axis) for stop, size in zip(stops, sizes, strict=True)]


def _chunk(writer: Writer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str] | None:
    """Parts along one axis, of one size but for the last."""
    x, parts, axis = (*args, kwargs.get("dim", 0))[:3]
    whole = x.shape[axis]
    size = ceil_div(whole, parts)
    return _split(writer, (x, [min(size, whole - start) for start in range(0, whole, size)], axis), {})


def _identity(_writer: Writer, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> str:
    return args[0].name


def _unary(op: str) -> Call:
    return lambda writer, args, kwargs: writer.add(op, [args[0].name])


_BINARY = {
    "Add": (operator.add, operator.iadd, torch.add, "add", "add_"),
    "Mul": (operator.mul, operator.imul, torch.mul, "mul", "mul_"),
    "Sub": (operator.sub, operator.isub, torch.sub, "sub"),
    "Div": (operator.truediv, torch.div, "div"),
}
CALLS: dict[Any, Call] = {
    **{target: _binary(op) for op, targets in _BINARY.items() for target in targets},
    "mean": _mean,
    torch.mean: _mean,
    "reshape": _reshape,
    "view": _reshape,
    "flatten": _flatten,
    torch.flatten: _flatten,
    "permute": _permute,
    torch.permute: _permute,
    "transpose": _transpose,
    torch.transpose: _transpose,
    torch.cat: _concatenate,
    torch.split: _split,
    torch.chunk: _chunk,
    "chunk": _chunk,
    operator.getitem: _getitem,
    "contiguous": _identity,
    F.dropout: _identity,
    "sigmoid": _unary("Sigmoid"),
    torch.sigmoid: _unary("Sigmoid"),
}
