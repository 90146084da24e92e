"""One part of a plain network (stem, block, head), walked layer by layer: its operators and groups of channels.

torch.fx traces the part, and every node runs on the meta device, so shapes are known. What a handler does not know is
walked again as one opaque layer, whose channels then keep their sizes (as NVIDIA's modelopt treats unknown operations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from timm.layers import RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d
from torch import Tensor, fx, nn

from ofa.supernet.derived.axes import Axes
from ofa.supernet.derived.opaque import opaque_operator
from ofa.supernet.derived.parts import Leaf
from ofa.supernet.operators import Operator, Operators

Sizes = tuple[int, ...]

_NORMS = (nn.BatchNorm2d, nn.LayerNorm, RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d)
_KEEP_SHAPE = (*_NORMS, nn.Identity, nn.Dropout, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish)


class Value(NamedTuple):
    """A tensor of the part: its number, the axis that its channels are, and which dimension they are."""

    tensor: int
    axis: int
    dim: int


@dataclass(frozen=True)
class TracedPart:
    """A part as operators, whose channels are those of the largest network.

    Attributes:
        operators: as in ``supernet.operators``.
        axes: of the part's input, then of each operator's ``channels``.
        groups: of each operator, the axis of its heads; None for other ones.
        paths: the name in the model of the layer that each operator is; empty for an addition and such.
        out: the part's output, whose shape is ``out_shape``.
    """

    operators: tuple[Operator, ...]
    axes: tuple[int, ...]
    groups: tuple[int | None, ...]
    paths: tuple[str, ...]
    out: Value
    out_shape: Sizes


@dataclass
class Network:
    """What is known of a model while its parts are walked.

    Attributes:
        names: the name of each module in the model.
        leaves: by name, the layers whose channels belong to axes.
        parameters: by name, parameters without a layer of their own: their axis, and which dimension it is.
        opaque: by name, the layers that are kept as they are, and why.
    """

    model: nn.Module
    axes: Axes = field(default_factory=Axes)
    leaves: dict[str, Leaf] = field(default_factory=dict)
    parameters: dict[str, tuple[int, int]] = field(default_factory=dict)
    opaque: dict[str, str] = field(default_factory=dict)
    names: dict[nn.Module, str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = {module: name for name, module in self.model.named_modules()}


class Unknown(Exception):
    """No handler knows a layer or an operation; ``module`` is the innermost module that it belongs to."""

    def __init__(self, module: nn.Module, reason: str) -> None:
        super().__init__(reason)
        self.module, self.reason = module, reason


Handler = Callable[["Walk", nn.Module, str, list[Value], Tensor], Value]
NoteFunction = Callable[["Walk", fx.Node, list[Value], Tensor], Value | None]


def walk_part(
    network: Network,
    part: nn.Module,
    given: Value,
    shape: Sizes,
    *,
    side: int,
    tokens: int = 0,
    handlers: Mapping[type[nn.Module], Handler],
    note_function: NoteFunction,
) -> TracedPart:
    """Walks ``part`` for an input of ``shape``, whose channels are ``given``: a map of ``side`` after ``tokens``.

    ``handlers`` says by exact type what each layer is, ``note_function`` what an operation is. A layer that none knows
    is opaque, or else the smallest module around an operation that nobody knows; the whole part if there is no smaller
    one.
    """
    opaque: dict[nn.Module, str] = {}
    while True:
        try:
            return Walk(network, part, opaque, handlers, note_function).run_part(given, shape, side=side, tokens=tokens)
        except Unknown as unknown:
            if unknown.module in opaque:
                raise NotImplementedError(f"{network.names.get(unknown.module, '?')}: {unknown.reason}") from unknown
            opaque[unknown.module] = unknown.reason


class _Tracer(fx.Tracer):
    def __init__(self, leaf: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self._leaf = leaf

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return self._leaf(module)


class Walk(fx.Interpreter):
    """One walk over one part. Handlers call ``add`` for each operator, and ``leaf`` for each layer with channels."""

    def __init__(
        self,
        network: Network,
        part: nn.Module,
        opaque: Mapping[nn.Module, str],
        handlers: Mapping[type[nn.Module], Handler],
        note_function: NoteFunction,
    ) -> None:
        self.note_function = note_function
        self.network, self.part, self.opaque, self.handlers = network, part, opaque, handlers
        self.operators: list[Operator] = []
        self.tensors: list[int] = []  # their axes
        self.groups: list[int | None] = []
        self.paths: list[str] = []
        self.values: dict[fx.Node, Value] = {}
        self._saved = (network.axes.copy(), dict(network.leaves), dict(network.parameters))

        def is_leaf(module: nn.Module) -> bool:
            return module in opaque or type(module) in handlers or not list(module.children())

        root = _Root(part) if is_leaf(part) else part
        try:
            graph = _Tracer(is_leaf).trace(root)
        except Exception as error:  # tracing runs any code, which may branch on values
            raise Unknown(_failing_module(part, is_leaf), f"it cannot be traced ({_first_line(error)})") from error
        super().__init__(root, garbage_collect_values=False, graph=graph)

    def run_part(self, given: Value, shape: Sizes, *, side: int, tokens: int) -> TracedPart:
        self.tensors.append(given.axis)
        self._given, self._given_side, self._tokens = given, side, tokens
        try:
            with torch.no_grad():
                result = self.run(torch.empty(shape, device="meta"))
        except Unknown:
            # The next walk begins anew.
            self.network.axes, self.network.leaves, self.network.parameters = self._saved
            raise
        (output,) = (node for node in self.graph.nodes if node.op == "output")
        out = self.values[output.args[0]]
        return TracedPart(
            tuple(self.operators), tuple(self.tensors), tuple(self.groups), tuple(self.paths), out, tuple(result.shape)
        )

    def run_node(self, node: fx.Node) -> Any:
        try:
            result = self._skipped(node)
            result = super().run_node(node) if result is None else result
        except Unknown:
            raise
        except Exception as error:
            raise Unknown(self._module_of(node), f"it cannot run on the meta device ({_first_line(error)})") from error
        if isinstance(result, Tensor) and node.op != "output":
            inputs = [self.values[argument] for argument in node.all_input_nodes if argument in self.values]
            self.values[node] = self._note(node, inputs, result)
        return result

    def _skipped(self, node: fx.Node) -> Tensor | None:
        """What a layer gives whose output has the shape of its input: that, for on the meta device norms are slow."""
        if node.op != "call_module" or len(node.all_input_nodes) != 1:
            return None
        leaf = self.module.get_submodule(str(node.target))
        return self.env[node.all_input_nodes[0]] if isinstance(leaf, _KEEP_SHAPE) and leaf not in self.opaque else None

    def _note(self, node: fx.Node, inputs: list[Value], result: Tensor) -> Value:
        if node.op == "placeholder":
            return self._given
        if node.op == "get_attr":
            return self._parameter(node, result)
        if node.op == "call_module":
            leaf = self.module.get_submodule(str(node.target))
            name = self.network.names.get(leaf, "")
            if leaf in self.opaque:
                return self._opaque(node, leaf, inputs, result)
            handler = self.handlers.get(type(leaf))
            if handler is None:
                raise Unknown(leaf, f"{type(leaf).__name__} is not known")
            return handler(self, leaf, name, inputs, result)
        value = self.note_function(self, node, inputs, result)
        if value is None:
            target = node.target if node.op == "call_method" else getattr(node.target, "__name__", node.target)
            raise Unknown(self._module_of(node), f"the operation {target} is not known")
        return value

    def shape(self, node: fx.Node) -> Sizes:
        """Of the tensor that a node gave."""
        return tuple(self.env[node].shape)

    # -- what handlers call ---------------------------------------------------------------------------------------

    def add(self, operator: Operator, axis: int, dim: int, path: str = "", *, groups: int | None = None) -> Value:
        """One more operator, whose ``channels`` are ``axis``, and whose ``groups`` are another one if it has heads."""
        self.operators.append(operator)
        self.tensors.append(axis)
        self.groups.append(groups)
        self.paths.append(path)
        return Value(len(self.operators), axis, dim)

    def unknown(self, leaf: nn.Module, reason: str) -> Unknown:
        """To be raised by a handler for a layer that is not as it expects."""
        return Unknown(leaf, reason)

    def extend(self, value: Value, **fields: Any) -> bool:
        """Makes a norm or an activation part of the operator before it, as runtimes do, where it alone is read.

        False where that cannot be: the part's input, or an operator that has an activation already.
        """
        if value.tensor == 0:
            return False
        writer = self.operators[value.tensor - 1]
        read = any(value.tensor in reader.inputs for reader in self.operators)
        norm_after = "norm" in fields and (writer.norm or writer.kind not in ("conv", "depthwise"))
        if writer.act or read or norm_after or writer.kind == "opaque":
            return False
        self.operators[value.tensor - 1] = writer._replace(**fields)
        return True

    def leaf(self, path: str, reads: int, writes: int, *, step: int = 1) -> None:
        """Says which axes a layer's weights have."""
        if path:
            self.network.leaves[path] = Leaf(reads, writes, step)

    def channels(self, value: Value) -> int:
        return self.network.axes[value.axis].size

    def fix(self, value: Value, reason: str) -> None:
        self.network.axes.fix(value.axis, reason)

    # -- the rest -------------------------------------------------------------------------------------------------

    def _parameter(self, node: fx.Node, tensor: Tensor) -> Value:
        """A parameter of a module: all of its axes but the longest have one entry."""
        owner, _, key = str(node.target).rpartition(".")
        module = self.module.get_submodule(owner)
        name = f"{self.network.names.get(module, owner)}.{key}".lstrip(".")
        long = [dim for dim, size in enumerate(tensor.shape) if size > 1]
        if len(long) > 1:
            raise Unknown(module, f"the parameter {key} has more than one axis")
        dim = long[0] if long else 0
        axis = self.network.axes.new(tensor.shape[dim] if tensor.ndim else 1)
        self.network.parameters[name] = (axis, dim)
        return Value(-1, axis, dim)

    def _opaque(self, node: fx.Node, leaf: nn.Module, inputs: list[Value], result: Tensor) -> Value:
        """A layer that is kept as it is: nothing that it reads or writes is cut."""
        name = self.network.names.get(leaf, "")
        reason = f"{name}: {self.opaque[leaf]}"
        self.network.opaque[name] = self.opaque[leaf]
        for value in inputs:
            self.fix(value, reason)
        dim = inputs[0].dim if result.ndim > 2 else 1
        axis = self.network.axes.new(result.shape[dim], fixed=reason)
        operator = opaque_operator(
            leaf,
            [self.env[argument] for argument in node.all_input_nodes],
            result,
            tensors=[value.tensor for value in inputs],
            side=self._side(inputs[0]),
            dim=dim,
        )
        return self.add(operator, axis, dim, name)

    def _side(self, value: Value) -> int:
        """Of the map that a tensor is."""
        so_far = Operators(self.channels(self._given), tuple(self.operators), self._tokens)
        return int(so_far.shapes(self._given_side)[value.tensor].side)

    def _module_of(self, node: fx.Node) -> nn.Module:
        """The innermost module whose forward a node is part of."""
        if node.op == "call_module":
            return self.module.get_submodule(str(node.target))
        stack = node.meta.get("nn_module_stack") or {}
        names = [entry[0] if isinstance(entry, tuple) else entry for entry in stack.values()]
        return self.part.get_submodule(str(names[-1])) if names and not isinstance(self.part, _Root) else self.part


class _Root(nn.Module):
    """Holds a part that is a layer itself."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.only = part

    def forward(self, x: Tensor) -> Tensor:
        return self.only(x)


def _failing_module(part: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> nn.Module:
    """The innermost module that cannot be traced."""
    for child in part.children():
        if is_leaf(child):
            continue
        try:
            _Tracer(is_leaf).trace(child)
        except Exception:
            return _failing_module(child, is_leaf)
    return part


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
