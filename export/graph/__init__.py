"""The ONNX graph of an eval-mode module, written directly: milliseconds where an exporter needs seconds.

Used to time hundreds of blocks and to write TFLite files. It knows a closed set of layers and calls, and
folds batch norms into convolutions. It gives the same operators as ``export_onnx``, so both run alike.
Exported ONNX files are made by ``export_onnx``.
"""

from __future__ import annotations

import inspect
import operator
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import onnx
import torch
from timm.layers import resample_abs_pos_embed
from timm.models import vision_transformer
from torch import fx, nn

from ofa.export.graph.calls import CALLS
from ofa.export.graph.folding import LayerConstants, conv_constants, linear_constants, norm_constants
from ofa.export.graph.layers import folded_norm, is_layer, keeps_shape, write_layer
from ofa.export.graph.tokens import COMPOSITES
from ofa.export.graph.writer import BATCH, Computed, Writer


@torch.no_grad()
def onnx_graph(module: nn.Module, shape: tuple[int, ...]) -> onnx.ModelProto:
    """ONNX of ``module`` (in eval mode) for float32 inputs ``(batch, *shape)`` with any batch size.

    ``shape`` is channels, height and width of maps, or tokens and channels.

    Raises ``NotImplementedError`` naming the layer whose operator is not known here, and ``ValueError``
    naming the layer that cannot read inputs of this shape.
    """
    module, traced = _traced(module)
    writer = Writer(write_layer)
    values: dict[fx.Node, Any] = {}

    for node in traced.nodes:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        # Error messages, and the tensors of other formats, name the layer.
        writer.layer = str(node.target) if node.op == "call_module" else node.name
        if node.op == "placeholder":
            # Arguments beside the first have their defaults.
            values[node] = next(iter(args), None) if values else Computed("input", (BATCH, *shape))
        elif node.op == "get_attr":
            values[node] = _attribute(module, str(node.target))
        elif node.op == "output":
            if not isinstance(args[0], Computed):
                raise NotImplementedError(f"{type(module).__name__}: its output is not one tensor")
            return writer.model(shape, args[0].name)
        else:
            values[node] = _value(writer, node, module, args, kwargs)
    raise AssertionError("a traced graph has an output")


def layer_constants(module: nn.Module) -> dict[str, LayerConstants]:
    """How the constants that the graph of ``module`` holds follow from its parameters, by the layer's path.

    Of convolutions, of batch norms that are not folded into one, and of linear layers. Each gives weight and
    bias (or None) as they are now, float32. A layer that is called more than once is left out.
    """
    module, traced = _traced(module)
    nodes = [node for node in traced.nodes if node.op == "call_module"]
    calls = Counter(str(node.target) for node in nodes)
    found: dict[str, LayerConstants] = {}
    for node in nodes:
        leaf, norm = module.get_submodule(str(node.target)), folded_norm(node, module)
        if isinstance(leaf, nn.Conv2d):
            constants = partial(conv_constants, leaf, norm)
        elif isinstance(leaf, nn.BatchNorm2d) and norm is not leaf:
            constants = partial(norm_constants, leaf)
        elif isinstance(leaf, nn.Linear):
            constants = partial(linear_constants, leaf)
        else:
            continue
        if calls[str(node.target)] == 1:
            found[str(node.target)] = constants
    return found


def _traced(module: nn.Module) -> tuple[nn.Module, fx.Graph]:
    """A module and its graph; the module is wrapped when it is a leaf of graphs itself."""
    tracer = _Tracer()
    if is_layer(module):
        module = nn.Sequential(module)
    _, *others = inspect.signature(module.forward).parameters.values()
    defaults = {argument.name: argument.default for argument in others if argument.default is not argument.empty}
    try:
        return module, tracer.trace(module, concrete_args=defaults)
    except Exception as error:  # forward code that looks at values raises anything
        raise NotImplementedError(f"{type(module).__name__}: its forward cannot be traced: {error}") from error


class _Tracer(fx.Tracer):
    """Traces into modules down to layers, and down to modules that have a function of their own here."""

    def __init__(self) -> None:
        # It looks at sizes, which are constants here, so it is called when they are known.
        super().__init__(autowrap_functions=(resample_abs_pos_embed,))
        self._autowrap_search.append(vision_transformer)  # the module that calls it, maybe by a function alone

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        if isinstance(module, COMPOSITES) or is_layer(module):
            return True
        # Modules of others are looked into, also those without children.
        of_a_library = type(module).__module__.startswith(("torch.nn.", "timm.layers."))
        return of_a_library and not list(module.children())


def _attribute(module: nn.Module, path: str) -> torch.Tensor:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name).detach()


def _value(writer: Writer, node: fx.Node, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call gives: a computed tensor, several, or a constant."""
    leaf = root.get_submodule(str(node.target)) if node.op == "call_module" else None
    function = leaf if leaf is not None else (_method(str(node.target)) if node.op == "call_method" else node.target)
    operands = [value for value in _flat((args, kwargs)) if isinstance(value, Computed)]
    if not operands or (node.target is operator.getitem and isinstance(args[0], list)):
        return function(*args, **kwargs)

    others = [value for value in _flat((args, kwargs)) if value is not operands[0]]
    if leaf is not None and any(value is not None and value is not False for value in others):
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for several arguments")
    if leaf is not None and keeps_shape(leaf):
        return operands[0]._replace(name=write_layer(writer, leaf, operands[0], norm=folded_norm(node, root)))

    # Sizes are constants, too: those of one image are known, and the batch is marked by its size.
    try:
        result = _on_meta(function, args, kwargs)
    except (RuntimeError, AssertionError, IndexError) as error:
        raise ValueError(f"{writer.layer}: it cannot read {list(operands[0].shape[1:])}: {error}") from error
    if not any(isinstance(value, torch.Tensor) for value in _flat(result)):
        return result
    if leaf is not None:
        return Computed(write_layer(writer, leaf, operands[0], norm=folded_norm(node, root)), tuple(result.shape))
    return _called(writer, node, args, kwargs, result)


def _called(writer: Writer, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
    """What a function or method gives, written; ``result`` has its shapes."""
    write = CALLS.get(node.target)
    keeps_batch = all(part.shape[:1] == (BATCH,) for part in _flat(result))
    written = write(writer, args, kwargs) if write and keeps_batch else None
    if written is None:
        raise NotImplementedError(f"{node.name}: no ONNX operator is known for {node.target}")
    if isinstance(written, list):
        return [Computed(name, tuple(part.shape)) for name, part in zip(written, result, strict=True)]
    return Computed(written, tuple(result.shape))


def _method(name: str) -> Callable[..., Any]:
    return lambda owner, *args, **kwargs: getattr(owner, name)(*args, **kwargs)


def _on_meta(function: Any, args: Any, kwargs: Any) -> Any:
    """The result of a layer or function for tensors without values."""

    def bare(value: Any) -> Any:
        if isinstance(value, Computed):
            return torch.empty(value.shape, device="meta")
        return value.to("meta") if isinstance(value, torch.Tensor) else value

    args, kwargs = _mapped(args, bare), _mapped(kwargs, bare)
    if isinstance(function, nn.Module):
        state = {name: bare(value) for name, value in (*function.named_parameters(), *function.named_buffers())}
        return torch.func.functional_call(function, state, args, kwargs)
    return function(*args, **kwargs)


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """``function`` applied to everything in nested lists, tuples and dictionaries."""
    if isinstance(value, Computed):
        return function(value)
    if isinstance(value, dict):
        return {key: _mapped(item, function) for key, item in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(_mapped(item, function) for item in value)
    return function(value)


def _flat(value: Any) -> list[Any]:
    """Everything in nested lists, tuples and dictionaries."""
    found: list[Any] = []
    _mapped(value, found.append)
    return found
