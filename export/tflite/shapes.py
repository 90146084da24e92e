"""ONNX nodes that move or select data as TFLite operators, and reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from ofa.export.tflite.convolutions import global_mean, padded
from ofa.export.tflite.source import layer
from ofa.export.tflite.writer import MAP, Stored, Writer


def transpose(writer: Writer, node: onnx.NodeProto) -> None:
    """Changes the layout alone."""
    stored = writer.stored(node)
    rank = len(stored.layout)
    axes = tuple(writer.source.attributes(node).get("perm", range(rank)[::-1]))
    if axes[0] != 0:
        raise writer.error(node, f"it moves the batch: {list(axes)}")
    writer.result(node, stored.index, tuple(axes.index(axis) for axis in stored.layout))


def reshape(writer: Writer, node: onnx.NodeProto) -> None:
    """Maps whose rows and columns become one axis stay as they are stored; others take ONNX's order first."""
    stored, label = writer.stored(node), layer(node)
    shape = writer.shape(stored)
    target = _target(writer, node, shape)
    if len(shape) == 4 and stored.layout == MAP and target == (1, shape[1], shape[2] * shape[3]):
        flat = writer.reshaped(stored.index, (1, target[2], target[1]), label)
        writer.result(node, flat, (0, 2, 1))
        return
    x = stored.index
    if _moves(writer.builder.shape(x), stored.layout):
        x = writer.moved(stored, tuple(range(len(shape))), label)
    plain = tuple(range(len(target)))
    writer.result(node, writer.reshaped(x, target, label), plain)


def _moves(sizes: tuple[int, ...], layout: tuple[int, ...]) -> bool:
    """Whether a stored tensor has another order of its values than ONNX's."""
    moving = [axis for axis, size in zip(layout, sizes, strict=True) if size > 1]
    return moving != sorted(moving)


def _target(writer: Writer, node: onnx.NodeProto, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The new shape, of one image."""
    count = int(np.prod(shape))
    if node.op_type == "Flatten":
        axis = writer.source.attributes(node).get("axis", 1)
        if axis != 1:
            raise writer.error(node, f"axis {axis}; only 1 is known")
        return (1, count)
    given = writer.constant(node, 1).tolist()
    sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(given)]
    sizes[0] = 1 if sizes[0] == -1 and -1 not in sizes[1:] and np.prod(sizes[1:]) == count else sizes[0]
    if sizes[0] == 1 and -1 in sizes:
        known = int(np.prod([size for size in sizes if size != -1]))
        sizes = [count // known if size == -1 else size for size in sizes]
    if sizes[0] != 1 or np.prod(sizes) != count:
        raise writer.error(node, f"it reshapes to {given}; the batch must stay")
    return tuple(sizes)


def concat(writer: Writer, node: onnx.NodeProto) -> None:
    """In the layout of the first operand."""
    first = writer.stored(node)
    axis = first.layout.index(writer.source.attributes(node)["axis"] % len(first.layout))
    parts = [writer.read(node, index, layout=first.layout) for index in range(len(node.input))]
    sizes = [list(writer.builder.shape(part)) for part in parts]
    shape = [*sizes[0][:axis], sum(size[axis] for size in sizes), *sizes[0][axis + 1 :]]
    output = writer.builder.tensor(layer(node), shape)
    writer.builder.operator("CONCATENATION", parts, output, kind="Concatenation", axis=axis)
    writer.result(node, output, first.layout)


def slice_(writer: Writer, node: onnx.NodeProto) -> None:
    """Neighbouring positions of some axes."""
    stored = writer.stored(node)
    shape = writer.shape(stored)
    starts, stops = (writer.constant(node, index).tolist() for index in (1, 2))
    axes = writer.constant(node, 3).tolist() if len(node.input) > 3 else range(len(starts))
    steps = writer.constant(node, 4).tolist() if len(node.input) > 4 else [1] * len(starts)
    if any(step != 1 for step in steps):
        raise writer.error(node, f"it takes steps of {steps}")
    bounds = {axis % len(shape): slice(start, stop) for axis, start, stop in zip(axes, starts, stops, strict=True)}
    writer.result(node, _sliced(writer, stored, bounds, layer(node)), stored.layout)


def split(writer: Writer, node: onnx.NodeProto) -> None:
    """One slice for each part."""
    stored = writer.stored(node)
    axis, sizes = split_sizes(writer, node, rank=len(stored.layout))
    start = 0
    for part, (name, size) in enumerate(zip(node.output, sizes, strict=True)):
        index = _sliced(writer, stored, {axis: slice(start, start + size)}, f"{layer(node)}/part{part}")
        writer.tensors[name] = Stored(index, stored.layout)
        start += size


def split_sizes(writer: Writer, node: onnx.NodeProto, *, rank: int) -> tuple[int, list[int]]:
    """The axis of a Split, and the sizes of its parts."""
    attributes = writer.source.attributes(node)
    sizes = attributes["split"] if "split" in attributes else writer.constant(node, 1).tolist()
    return attributes.get("axis", 0) % rank, sizes


def gather(writer: Writer, node: onnx.NodeProto) -> None:
    """One position of an axis, which is then gone."""
    stored, label = writer.stored(node), layer(node)
    axis = writer.source.attributes(node).get("axis", 0) % len(stored.layout)
    index = writer.constant(node, 1)
    if index.ndim or axis == 0:
        raise writer.error(node, "it takes several positions")
    position = int(index) % writer.shape(stored)[axis]
    one = _sliced(writer, stored, {axis: slice(position, position + 1)}, f"{label}/position")
    sizes = writer.builder.shape(one)
    kept = tuple(size for size, of in zip(sizes, stored.layout, strict=True) if of != axis)
    writer.result(node, writer.reshaped(one, kept, label), _without(stored.layout, [axis]))


def _sliced(writer: Writer, stored: Stored, bounds: dict[int, slice], label: str) -> int:
    """Appends a slice of ONNX's axes; the batch stays whole."""
    sizes = writer.builder.shape(stored.index)
    ranges = [bounds.get(axis, slice(None)).indices(size) for axis, size in zip(stored.layout, sizes, strict=True)]
    starts = [start for start, _, _ in ranges]
    counts = [stop - start for start, stop, _ in ranges]
    constants = [
        writer.builder.constant(f"{label}/{name}", np.array(values, np.int32))
        for name, values in (("begin", starts), ("size", [-1, *counts[1:]] if writer.resizable else counts))
    ]
    output = writer.builder.tensor(label, counts)
    return writer.builder.operator("SLICE", [stored.index, *constants], output, kind="Slice")


def _without(layout: tuple[int, ...], axes: list[int]) -> tuple[int, ...]:
    """The layout of what is left when ONNX's ``axes`` are gone."""
    return tuple(axis - sum(gone < axis for gone in axes) for axis in layout if axis not in axes)


def pad(writer: Writer, node: onnx.NodeProto) -> None:
    """With zeros, or with a mirrored border."""
    stored = writer.stored(node)
    mode = writer.source.attributes(node).get("mode", b"constant")
    value = writer.source.constant(node, 2)
    if mode not in (b"constant", b"reflect") or (value is not None and value.item() != 0):
        raise writer.error(node, "only zeros and mirrored borders are known")
    pads = writer.constant(node, 1).reshape(2, -1).T
    ordered = [tuple(pads[axis].tolist()) for axis in stored.layout]
    border = "" if mode == b"constant" else "reflect"
    writer.result(node, padded(writer, stored.index, ordered, layer(node), border=border), stored.layout)


def reduction(code: str) -> Callable[[Writer, onnx.NodeProto], None]:
    """A mean or sum over some axes; over height and width the mean is an average pool."""

    def write(writer: Writer, node: onnx.NodeProto) -> None:
        stored = writer.stored(node)
        attributes, rank = writer.source.attributes(node), len(stored.layout)
        axes = attributes.get("axes")
        axes = sorted(axis % rank for axis in (writer.constant(node, 1).tolist() if axes is None else axes))
        keepdims = bool(attributes.get("keepdims", 1))
        if 0 in axes:
            raise writer.error(node, f"it reduces axes {axes}, the batch among them")
        if code == "MEAN" and stored.layout == MAP and axes == [2, 3] and keepdims:
            global_mean(writer, node)
            return
        label = layer(node)
        x = stored.index if code != "L2" else writer.binary("MUL", stored.index, stored.index, f"{label}/squares")
        places = sorted(stored.layout.index(axis) for axis in axes)
        kind = "SUM" if code == "L2" else code
        result = writer.reduced(kind, x, places, label, keepdims=keepdims)
        if code == "L2":
            result = writer.unary("SQRT", result, f"{label}/root")
        writer.result(node, result, stored.layout if keepdims else _without(stored.layout, axes))

    return write
