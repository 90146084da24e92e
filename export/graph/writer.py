"""Collects the nodes and weights of one ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, defs, helper, numpy_helper
from torch import nn

from ofa.export.onnx_opset import set_opset

BATCH = 7  # of the tensors whose shapes are computed; the graph takes any number of images


class Computed(NamedTuple):
    """A tensor that the graph computes: its name, and its shape for ``BATCH`` images."""

    name: str
    shape: tuple[int, ...]


class Writer:
    """Collects the nodes and weights of one graph; ``layer`` names the nodes that are written now.

    ``write_layer`` writes a layer that reads a tensor, and returns the name of its output.
    """

    def __init__(self, write_layer: Callable[[Writer, nn.Module, Computed], str]) -> None:
        self.layer = ""
        self._write_layer = write_layer
        self.nodes: list[onnx.NodeProto] = []
        self._names: set[str] = set()
        self._weights: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: Sequence[str], **attributes: object) -> str:
        """Appends an operator with one output; returns that."""
        return self._add(op, inputs, [f"t{len(self.nodes)}"], **attributes)[0]

    def weight(self, value: np.ndarray | torch.Tensor) -> str:
        """Adds a constant; returns its name."""
        array = value.detach().float().cpu().numpy() if isinstance(value, torch.Tensor) else value
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def pool(self, x: str) -> str:
        """The mean of each map, of one position."""
        return self.add("GlobalAveragePool", [x])

    def transpose(self, x: str, *axes: int) -> str:
        """Axis ``i`` of the result is axis ``axes[i]`` of ``x``."""
        return self.add("Transpose", [x], perm=axes)

    def reshape(self, x: str, *sizes: int) -> str:
        """``sizes`` are those of one image; the batch stays."""
        return self.add("Reshape", [x, self.weight(np.array([0, *sizes], np.int64))])

    def split(self, x: str, parts: int, size: int, *, axis: int) -> list[str]:
        """``x`` cut along ``axis`` into ``parts`` tensors of ``size``."""
        outputs = [f"t{len(self.nodes)}.{part}" for part in range(parts)]
        return self._add("Split", [x, self.weight(np.full(parts, size, np.int64))], outputs, axis=axis)

    def slice(self, x: str, start: int, stop: int, *, axis: int) -> str:
        """Positions ``start`` to ``stop`` of ``x`` along ``axis``."""
        return self.add("Slice", [x, *(self.weight(np.array([bound], np.int64)) for bound in (start, stop, axis))])

    def with_constant(self, op: str, x: str, value: np.ndarray | torch.Tensor | float) -> str:
        """A binary operator whose second operand is a constant."""
        return self.add(op, [x, self.weight(np.float32(value) if isinstance(value, int | float) else value)])

    def reduce(self, op: str, x: str, axes: Sequence[int], *, keepdims: bool = True) -> str:
        """``ReduceMean`` and the like."""
        return self.add(op, [x, self.weight(np.array(axes, np.int64))], keepdims=int(keepdims))

    def child(self, owner: nn.Module, name: str, x: Computed) -> str:
        """The output of a child of ``owner``; without that child, ``x``."""
        child = getattr(owner, name, None)
        if child is None:
            return x.name
        before, self.layer = self.layer, f"{self.layer}.{name}"
        written = self._write_layer(self, child, x)
        self.layer = before
        return written

    def model(self, shape: tuple[int, ...], output: str) -> onnx.ModelProto:
        """The model of all nodes, for inputs ``(batch, *shape)``."""
        self._add("Identity", [output], ["logits"])
        images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])
        logits = helper.make_empty_tensor_value_info("logits")
        graph = helper.make_graph(self.nodes, "block", [images], [logits], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", defs.onnx_opset_version())])
        set_opset(model)
        return onnx.shape_inference.infer_shapes(model)

    def _add(self, op: str, inputs: Sequence[str], outputs: list[str], **attributes: object) -> list[str]:
        # ONNX Runtime requires unique names.
        name = self.layer if self.layer not in self._names else f"{self.layer}.{outputs[0]}"
        self._names.add(name)
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs
