"""An ONNX graph prepared for conversion: constants separated, identities resolved, readers of each tensor known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Source:
    """The one-input, one-output graph of a model: ``nodes`` in order, without constants and identities.

    Raises ``ValueError`` when there are several inputs or outputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._aliases: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []

        for node in graph.node:
            if node.op_type == "Constant":
                value = helper.get_attribute_value(node.attribute[0])
                is_tensor = isinstance(value, onnx.TensorProto)
                self._constants[node.output[0]] = numpy_helper.to_array(value) if is_tensor else np.asarray(value)
            elif node.op_type == "Identity":
                self._aliases[node.output[0]] = self.resolve(node.input[0])
            else:
                self.nodes.append(node)

        # Old files list weights among the inputs, too.
        inputs = [info for info in graph.input if info.name not in self._constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ValueError(f"the ONNX graph has {len(inputs)} inputs and {len(graph.output)} outputs, not one each")
        self.input = inputs[0].name
        self.output = self.resolve(graph.output[0].name)
        self.shape = _image_shape(inputs[0])

        # The network's output counts as a reader.
        self._producers = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto | None]] = {self.output: [None]}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(self.resolve(name), []).append(node)

    def resolve(self, name: str) -> str:
        """The tensor's own name, of which ``name`` may be an alias."""
        return self._aliases.get(name, name)

    def constant(self, node: onnx.NodeProto, index: int) -> np.ndarray | None:
        """Operand ``index`` of ``node``; None when it is left out or computed."""
        return self._constants.get(self.resolve(node.input[index])) if index < len(node.input) else None

    def only_reader(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The node that reads ``node``'s output, when nothing else does."""
        readers = self._readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 else None

    def producer(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The node that computes the first operand of ``node``."""
        return self._producers.get(self.resolve(node.input[0]))

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def layer(node: onnx.NodeProto) -> str:
    """A name for ``node``: that of the module whose weight it reads, else its own name, else its output's."""
    for name in node.input:
        if name.endswith(".weight"):
            return name.removesuffix(".weight")
    return node.name or f"{node.op_type}_{node.output[0]}"


def _image_shape(info: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Channels, height and width of maps; tokens and channels."""
    sizes = [dimension.dim_value for dimension in info.type.tensor_type.shape.dim]
    if len(sizes) not in (3, 4) or not all(sizes[1:]):
        raise ValueError(f"the ONNX input {info.name} must be (batch, channels, height, width) with fixed sizes")
    return tuple(sizes[1:])
