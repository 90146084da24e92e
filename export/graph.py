"""The ONNX graph of an eval-mode module, written directly: milliseconds where an exporter needs seconds.

Used to time hundreds of blocks and to write TFLite files. It knows a closed set of operators and folds
batch norms into convolutions. It gives the same operators as ``export_onnx``, so both run alike. Exported
ONNX files are made by ``export_onnx``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import TensorProto, defs, helper, numpy_helper
from timm.layers import BatchNormAct2d, SelectAdaptivePool2d
from torch import fx, nn

from ofa.export.onnx_opset import set_opset
from ofa.supernet.traced_operators import LeafTracer, is_average_pool, is_global_mean


def onnx_graph(module: nn.Module, shape: tuple[int, int, int]) -> onnx.ModelProto:
    """ONNX of ``module`` (in eval mode) for float32 inputs ``(batch, *shape)`` with any batch size.

    Raises ``NotImplementedError`` naming the layer whose operator is not known here.
    """
    traced = LeafTracer().trace(module)
    writer = _Writer()
    names: dict[fx.Node, str] = {}

    for node in traced.nodes:
        inputs = [names[argument] for argument in node.all_input_nodes]
        # Error messages, and the tensors of other formats, name the layer.
        writer.layer = str(node.target) if node.op == "call_module" else node.name
        if node.op == "placeholder":
            names[node] = "input"
        elif node.op == "output":
            writer.nodes.append(helper.make_node("Identity", inputs, ["logits"]))
        elif node.op == "call_module":
            leaf = module.get_submodule(node.target)
            names[node] = _module(writer, leaf, inputs[0], name=str(node.target), node=node, root=module)
        elif node.target in _FUNCTIONS and len(inputs) == 2 and not node.kwargs:
            names[node] = writer.add(_FUNCTIONS[node.target], inputs)
        elif is_global_mean(node):
            names[node] = writer.pool(inputs[0])
        else:
            raise NotImplementedError(f"{node.name}: no ONNX operator is known for {node.target}")
    return writer.model(shape)


_FUNCTIONS: dict[object, str] = {operator.add: "Add", operator.mul: "Mul", torch.add: "Add", torch.mul: "Mul"}


class _Writer:
    """Collects the nodes and weights of one graph; ``layer`` names the nodes that are written now."""

    def __init__(self) -> None:
        self.layer = ""
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: list[str], **attributes: object) -> str:
        output = f"t{len(self.nodes)}"
        taken = any(node.name == self.layer for node in self.nodes)
        name = f"{self.layer}.{output}" if taken else self.layer  # ONNX Runtime requires unique names
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def weight(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def pool(self, x: str) -> str:
        return self.add("GlobalAveragePool", [x])

    def model(self, shape: tuple[int, int, int]) -> onnx.ModelProto:
        images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])
        logits = helper.make_empty_tensor_value_info("logits")
        graph = helper.make_graph(self.nodes, "block", [images], [logits], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", defs.onnx_opset_version())])
        set_opset(model)
        return onnx.shape_inference.infer_shapes(model)


def _module(writer: _Writer, leaf: nn.Module, x: str, *, name: str, node: fx.Node, root: nn.Module) -> str:
    if isinstance(leaf, nn.Conv2d):
        return _conv(writer, leaf, x, _following_norm(node, root))
    if isinstance(leaf, BatchNormAct2d):
        # Its scale and shift are in the convolution already, which nothing else may read.
        source = node.all_input_nodes[0]
        layer = root.get_submodule(source.target) if source.op == "call_module" and len(source.users) == 1 else None
        if not isinstance(layer, nn.Conv2d):
            raise NotImplementedError(f"{name}: a batch norm that does not follow a convolution")
        return _module(writer, leaf.act, x, name=f"{name}.act", node=node, root=root)
    for kind, write in _LEAVES.items():
        if isinstance(leaf, kind):
            return write(writer, leaf, x)
    raise NotImplementedError(f"{name}: no ONNX operator is known for {type(leaf).__name__}")


def _following_norm(node: fx.Node, root: nn.Module) -> BatchNormAct2d | None:
    """The batch norm that is the only reader of ``node``, if there is one."""
    users = [user for user in node.users if user.op == "call_module"]
    leaf = root.get_submodule(users[0].target) if len(node.users) == len(users) == 1 else None
    return leaf if isinstance(leaf, BatchNormAct2d) else None


def _conv(writer: _Writer, conv: nn.Conv2d, x: str, norm: BatchNormAct2d | None) -> str:
    weight = _array(conv.weight)
    bias = None if conv.bias is None else _array(conv.bias)

    # norm(conv(x)) is one convolution with scaled weights.
    if norm is not None:
        scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + np.float32(norm.eps))
        weight = weight * scale[:, None, None, None]
        bias = _array(norm.bias) + ((0 if bias is None else bias) - _array(norm.running_mean)) * scale

    inputs = [x, writer.weight(weight)] + ([] if bias is None else [writer.weight(bias)])
    return writer.add(
        "Conv",
        inputs,
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        pads=list(conv.padding) * 2,
        dilations=list(conv.dilation),
        group=conv.groups,
    )


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _linear(writer: _Writer, leaf: nn.Linear, x: str) -> str:
    bias = [] if leaf.bias is None else [writer.weight(_array(leaf.bias))]
    return writer.add("Gemm", [x, writer.weight(_array(leaf.weight)), *bias], transB=1)


def _relu6(writer: _Writer, _leaf: nn.Module, x: str) -> str:
    return writer.add("Clip", [x, writer.weight(np.float32(0)), writer.weight(np.float32(6))])


def _silu(writer: _Writer, _leaf: nn.Module, x: str) -> str:
    return writer.add("Mul", [x, writer.add("Sigmoid", [x])])


def _pool(writer: _Writer, leaf: nn.Module, x: str) -> str:
    if not is_average_pool(leaf):
        raise NotImplementedError(f"no ONNX operator is known for a pool of the type {leaf.pool_type!r}")
    pooled = writer.pool(x)
    flattens = isinstance(leaf.flatten, nn.Flatten) or getattr(leaf.pool, "flatten", False)
    return writer.add("Flatten", [pooled]) if flattens else pooled


def _identity(_writer: _Writer, _leaf: nn.Module, x: str) -> str:
    return x


_LEAVES: dict[type[nn.Module], Callable[[_Writer, nn.Module, str], str]] = {
    nn.Linear: _linear,
    nn.ReLU6: _relu6,
    nn.SiLU: _silu,
    nn.ReLU: lambda writer, _leaf, x: writer.add("Relu", [x]),
    nn.Hardswish: lambda writer, _leaf, x: writer.add("HardSwish", [x]),
    nn.Hardsigmoid: lambda writer, _leaf, x: writer.add("HardSigmoid", [x], alpha=1 / 6, beta=0.5),
    nn.Sigmoid: lambda writer, _leaf, x: writer.add("Sigmoid", [x]),
    nn.Flatten: lambda writer, _leaf, x: writer.add("Flatten", [x]),
    SelectAdaptivePool2d: _pool,
    nn.Identity: _identity,
    nn.Dropout: _identity,
}
