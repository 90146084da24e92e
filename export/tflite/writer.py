"""What TFLite operators are written with: tensors and how they are stored, readers, fused activation functions.

ONNX's maps are ``(batch, channels, height, width)``, TFLite's have their channels last. So each tensor has
a layout: axis ``i`` of the stored tensor is axis ``layout[i]`` of ONNX's. A transpose changes the layout
alone; data moves where an operator needs another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx

from ofa.export.tflite.flatbuffer import Builder, schema
from ofa.export.tflite.source import Source, layer

ACTIVATION = schema.ActivationFunctionType
PADDING = schema.Padding
MAP = (0, 2, 3, 1)


class Stored(NamedTuple):
    """A TFLite tensor and its layout."""

    index: int
    layout: tuple[int, ...]


def usual_layout(rank: int) -> tuple[int, ...]:
    """Maps have their channels last; other tensors are stored as they are."""
    return MAP if rank == 4 else tuple(range(rank))


class Writer:
    """Writes operators from the nodes of a source; ``tensors`` maps ONNX names to what is stored."""

    def __init__(self, source: Source, *, resizable: bool = False) -> None:
        self.source = source
        self.resizable = resizable
        self.builder = Builder(resizable=resizable)
        self.tensors: dict[str, Stored] = {}
        self._done: set[int] = set()

    def error(self, node: onnx.NodeProto, reason: str) -> ValueError:
        """The error that names ``node`` and its layer."""
        return ValueError(f"{layer(node)}: TFLite export does not know this {node.op_type}: {reason}")

    def stored(self, node: onnx.NodeProto, index: int = 0) -> Stored:
        """Operand ``index``, which must not be a constant."""
        name = self.source.resolve(node.input[index])
        if name not in self.tensors:
            raise self.error(node, f"its operand {name} is a constant; it must be computed from the image")
        return self.tensors[name]

    def shape(self, stored: Stored) -> tuple[int, ...]:
        """ONNX's shape, of one image."""
        sizes = self.builder.shape(stored.index)
        return tuple(sizes[stored.layout.index(axis)] for axis in range(len(sizes)))

    def read(self, node: onnx.NodeProto, index: int = 0, *, layout: tuple[int, ...] | None = None) -> int:
        """The tensor of an operand in a layout, by default the usual one."""
        stored = self.stored(node, index)
        return self.moved(stored, layout or usual_layout(len(stored.layout)), layer(node))

    def moved(self, stored: Stored, layout: tuple[int, ...], label: str) -> int:
        """The tensor in another layout; it is only reshaped when no two axes of more than one position swap."""
        if stored.layout == layout:
            return stored.index
        old = self.builder.shape(stored.index)
        order = [stored.layout.index(axis) for axis in layout]
        shape = tuple(old[axis] for axis in order)
        moving = [axis for axis in order if old[axis] > 1]
        if moving == sorted(moving):
            return stored.index if shape == old else self.reshaped(stored.index, shape, f"{label}/layout")
        axes = self.builder.constant(f"{label}/axes", np.array(order, np.int32))
        output = self.builder.tensor(f"{label}/transposed", shape)
        return self.builder.operator("TRANSPOSE", [stored.index, axes], output, kind="Transpose")

    def map(self, node: onnx.NodeProto) -> tuple[int, tuple[int, ...]]:
        """The tensor of the first operand, which must be a feature map, and its NHWC shape."""
        stored = self.stored(node)
        if len(stored.layout) != 4:
            raise self.error(node, f"its input has shape {self.shape(stored)}, not height, width and channels")
        x = self.read(node)
        return x, self.builder.shape(x)

    def constant(self, node: onnx.NodeProto, index: int) -> np.ndarray:
        """The value of operand ``index``, which must be a constant."""
        value = self.source.constant(node, index)
        if value is None:
            raise self.error(node, f"its operand {index} must be a constant")
        return value

    def result(self, node: onnx.NodeProto, tensor: int, layout: tuple[int, ...] | None = None) -> None:
        """Says that ``tensor``, stored in ``layout`` (default: the usual one), is the output of ``node``."""
        layout = layout or usual_layout(len(self.builder.shape(tensor)))
        self.tensors[node.output[0]] = Stored(tensor, layout)

    def next(self, node: onnx.NodeProto, *ops: str) -> onnx.NodeProto | None:
        """The only reader of ``node``, when it is one of the kinds ``ops``."""
        reader = self.source.only_reader(node)
        return reader if reader is not None and reader.op_type in ops else None

    def fused(self, node: onnx.NodeProto) -> tuple[int, onnx.NodeProto]:
        """The activation function to fuse into ``node``'s operator, and the node whose output that operator gives."""
        reader = self.next(node, "Relu", "Clip")
        if reader is None:
            return ACTIVATION.NONE, node
        self.skip(reader)
        return self.clamp(reader), reader

    def skip(self, node: onnx.NodeProto) -> None:
        """Says that ``node`` is written as a part of another operator."""
        self._done.add(id(node))

    def is_done(self, node: onnx.NodeProto) -> bool:
        """Whether ``node`` was written as a part of another operator."""
        return id(node) in self._done

    def clamp(self, node: onnx.NodeProto) -> int:
        """TFLite's activation function of a Relu or Clip."""
        if node.op_type == "Relu":
            return ACTIVATION.RELU
        low, high = (self.source.constant(node, index) for index in (1, 2))
        limits = [None if limit is None else limit.item() for limit in (low, high)]
        if limits != [0, 6]:
            raise self.error(node, f"it clips to {limits}; only 0 to 6 is known")
        return ACTIVATION.RELU6

    def reshaped(self, x: int, shape: tuple[int, ...], label: str) -> int:
        """Appends a reshape of ``x`` and returns its output."""
        return reshaped(self.builder, x, shape, label, resizable=self.resizable)

    def unary(self, code: str, x: int, label: str, *, kind: str = "", **options: object) -> int:
        """Appends an operator of the shape of its input, and returns its output."""
        output = self.builder.tensor(label, self.builder.shape(x))
        return self.builder.operator(code, [x], output, kind=kind, **options)

    def binary(self, code: str, left: int, right: int | np.ndarray, label: str, **options: object) -> int:
        """Appends ``ADD``, ``MUL`` and the like of two tensors, or of one and a constant; returns its output."""
        if not isinstance(right, int):
            right = self.builder.constant(f"{label}/constant", np.asarray(right, np.float32))
        shape = np.broadcast_shapes(self.builder.shape(left), self.builder.shape(right))
        kinds = {"SQUARED_DIFFERENCE": "SquaredDifference"}
        output = self.builder.tensor(label, shape)
        return self.builder.operator(code, [left, right], output, kind=kinds.get(code, code.title()), **options)

    def reduced(self, code: str, x: int, axes: Sequence[int], label: str, *, keepdims: bool = True) -> int:
        """Appends ``MEAN`` or ``SUM`` over the axes of a stored tensor; returns its output."""
        sizes = self.builder.shape(x)
        kept = [1 if axis in axes else size for axis, size in enumerate(sizes) if keepdims or axis not in axes]
        constant = self.builder.constant(f"{label}/axes", np.array(axes, np.int32))
        output = self.builder.tensor(label, kept)
        return self.builder.operator(code, [x, constant], output, kind="Reducer", keepDims=keepdims)


def reshaped(builder: Builder, x: int, shape: tuple[int, ...], label: str, *, resizable: bool = False) -> int:
    """Appends a reshape of ``x`` and returns its output. With ``resizable`` the runtime infers the first dimension."""
    sizes = [-1, *shape[1:]] if resizable else list(shape)
    constant = builder.constant(f"{label}/shape", np.array(sizes, np.int32))
    return builder.operator("RESHAPE", [x, constant], builder.tensor(label, shape), kind="Reshape", newShape=sizes)
