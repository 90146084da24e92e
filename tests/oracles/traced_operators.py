"""The operators of a module, read off its trace by few rules of their own: what lists written by hand are held to."""

from __future__ import annotations

import operator

import torch
from timm.layers import BatchNormAct2d, DropPath, SelectAdaptivePool2d
from torch import fx, nn

from ofa.supernet.operators import Operator, Operators

_BINARY: dict[object, str] = {
    operator.add: "add",
    operator.iadd: "add",
    operator.mul: "mul",
    torch.add: "add",
    torch.mul: "mul",
}
_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Hardswish: "hard_swish",
    nn.SiLU: "swish",
    nn.Hardsigmoid: "hard_sigmoid",
    nn.Sigmoid: "sigmoid",
    nn.GELU: "gelu",
}
_WITHOUT_OPERATOR = (nn.Identity, nn.Dropout, nn.Flatten, DropPath)


class LeafTracer(fx.Tracer):
    """Traces into modules down to layers. A batch norm with its activation, and timm's pools, count as layers."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, BatchNormAct2d | SelectAdaptivePool2d) or not list(module.children())


def is_average_pool(leaf: nn.Module) -> bool:
    """Whether one of timm's pools averages each map to one position; ``fast`` ones do it by a mean."""
    return isinstance(leaf, SelectAdaptivePool2d) and leaf.pool_type in ("avg", "fast", "fastavg")


def is_global_mean(node: fx.Node) -> bool:
    """Whether a call averages each map to one position."""
    is_mean = node.op == "call_method" and node.target == "mean"
    return is_mean and node.args[1:] == ((2, 3),) and node.kwargs == {"keepdim": True}


def operators_of(module: nn.Module, in_channels: int) -> Operators:
    """The operators of ``module`` (in eval mode) for inputs of ``in_channels`` channels, in the order of its forward.

    Raises ``NotImplementedError`` naming the layer whose operator is not known here.
    """
    tracing = _Tracing(module, in_channels)
    for node in LeafTracer().trace(module).nodes:
        tracing.visit(node)
    return Operators(in_channels, tuple(tracing.operators))


class _Tracing:
    """The operators read so far, and the tensor index of each node of the graph."""

    def __init__(self, root: nn.Module, in_channels: int) -> None:
        self.root, self.in_channels = root, in_channels
        self.operators: list[Operator] = []
        self.tensors: dict[fx.Node, int] = {}

    def visit(self, node: fx.Node) -> None:
        inputs = tuple(self.tensors[argument] for argument in node.all_input_nodes)
        if node.op == "placeholder":
            self.tensors[node] = 0
        elif node.op == "call_module":
            leaf = self.root.get_submodule(str(node.target))
            self.tensors[node] = self._layer(leaf, inputs[0], name=str(node.target))
        elif node.target in _BINARY and len(inputs) == 2 and not node.kwargs:
            self.tensors[node] = self._add(Operator(_BINARY[node.target], inputs, self._channels(inputs[0])))
        elif is_global_mean(node):
            self.tensors[node] = self._add(Operator("pool", inputs, self._channels(inputs[0])))
        elif node.op != "output":
            raise NotImplementedError(f"{node.name}: no operator is known for {node.target}")

    def _layer(self, leaf: nn.Module, x: int, *, name: str) -> int:
        """The output of a layer. Activation functions and norms become parts of the operator before them."""
        if isinstance(leaf, nn.Conv2d):
            return self._add(_convolution(leaf, x, name))
        if isinstance(leaf, nn.Linear):
            return self._add(Operator("linear", (x,), leaf.out_features, bias=leaf.bias is not None))
        if is_average_pool(leaf):
            return self._add(Operator("pool", (x,), self._channels(x)))
        if isinstance(leaf, nn.MaxPool2d) and not leaf.ceil_mode:
            kernel, stride, padding = (_equal(size, name) for size in (leaf.kernel_size, leaf.stride, leaf.padding))
            return self._add(Operator("max_pool", (x,), self._channels(x), kernel, stride, padding=padding))
        if isinstance(leaf, nn.BatchNorm2d):
            self._extend(x, name, norm=True)
            return self._layer(leaf.act, x, name=f"{name}.act") if isinstance(leaf, BatchNormAct2d) else x
        if isinstance(leaf, _WITHOUT_OPERATOR):
            return x
        if type(leaf) in _ACTIVATIONS:
            self._extend(x, name, act=_ACTIVATIONS[type(leaf)])
            return x
        raise NotImplementedError(f"{name}: no operator is known for {type(leaf).__name__}")

    def _extend(self, tensor: int, name: str, **fields: bool | str) -> None:
        """Sets fields of the operator whose output is ``tensor``."""
        writer = self.operators[tensor - 1] if tensor else None
        fits = writer is not None and not writer.act and not any(tensor in reader.inputs for reader in self.operators)
        if "norm" in fields:
            fits = fits and writer.kind in ("conv", "depthwise") and not writer.norm
        if not fits:
            raise NotImplementedError(f"{name}: it does not directly follow an operator that it could be part of")
        self.operators[tensor - 1] = writer._replace(**fields)

    def _add(self, new: Operator) -> int:
        self.operators.append(new)
        return len(self.operators)

    def _channels(self, tensor: int) -> int:
        return self.operators[tensor - 1].channels if tensor else self.in_channels


def _convolution(leaf: nn.Conv2d, x: int, name: str) -> Operator:
    if isinstance(leaf.padding, str) or leaf.padding_mode != "zeros" or _equal(leaf.dilation, name) != 1:
        raise NotImplementedError(f"{name}: no operator is known for a convolution that is padded or dilated like this")
    if type(leaf).forward is not nn.Conv2d.forward:
        raise NotImplementedError(f"{name}: no operator is known for {type(leaf).__name__}")
    kernel, stride, padding = (_equal(size, name) for size in (leaf.kernel_size, leaf.stride, leaf.padding))
    depthwise = leaf.groups == leaf.in_channels == leaf.out_channels > 1
    kind = "depthwise" if depthwise else "conv"
    has_bias = leaf.bias is not None
    return Operator(kind, (x,), leaf.out_channels, kernel, stride, leaf.groups, padding, bias=has_bias)


def _equal(sizes: int | tuple[int, ...], name: str) -> int:
    """The common size of rows and columns."""
    distinct = {sizes} if isinstance(sizes, int) else set(sizes)
    if len(distinct) > 1:
        raise NotImplementedError(f"{name}: no operator is known for one whose rows and columns differ: {sizes}")
    return distinct.pop()
