"""Layers as ONNX nodes, one function each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from timm.layers import (
    BatchNormAct2d,
    BlurPool2d,
    Conv2dSame,
    DropPath,
    LayerScale,
    LayerScale2d,
    PatchDropout,
    SelectAdaptivePool2d,
)
from timm.layers import activations as acts
from timm.layers.linear import Linear
from timm.layers.padding import pad_same_arg
from timm.layers.pool2d_same import MaxPool2dSame
from torch import fx, nn

from ofa.export.graph.folding import conv_constants, norm_constants
from ofa.export.graph.norms import NORMS
from ofa.export.graph.tokens import TOKENS, linear
from ofa.export.graph.writer import Computed, Writer

Write = Callable[[Writer, nn.Module, Computed], str]


def write_layer(writer: Writer, leaf: nn.Module, x: Computed, *, norm: nn.BatchNorm2d | None = None) -> str:
    """Writes a layer that reads ``x``; returns the name of its output.

    ``norm`` is the batch norm to fold into a convolution; for a batch norm, itself when that was done.

    Raises ``NotImplementedError`` naming the layer that is not known.
    """
    if isinstance(leaf, nn.Conv2d):
        return _conv(writer, leaf, x, norm)
    if isinstance(leaf, nn.BatchNorm2d):
        return _batch_norm(writer, leaf, x, folded=norm is leaf)
    write = _writer_of(leaf)
    if write is None:
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for {type(leaf).__name__}")
    return write(writer, leaf, x)


def is_layer(module: nn.Module) -> bool:
    """Whether a module is one of the layers that are known here."""
    known = isinstance(module, nn.Conv2d | nn.BatchNorm2d) or _writer_of(module) is not None
    return known and not isinstance(module, nn.Sequential)


def keeps_shape(leaf: nn.Module) -> bool:
    """Whether the output of a layer has the shape of its input for sure."""
    elementwise = isinstance(leaf, tuple(_ALIKE)) and not isinstance(leaf, SelectAdaptivePool2d)
    return elementwise or isinstance(leaf, nn.BatchNorm2d) or type(leaf) in NORMS


def _writer_of(leaf: nn.Module) -> Write | None:
    """By the exact class, for a subclass may compute anything; else by a class whose subclasses are alike."""
    return _LAYERS.get(type(leaf)) or next((_ALIKE[kind] for kind in _ALIKE if isinstance(leaf, kind)), None)


def folded_norm(node: fx.Node, root: nn.Module) -> nn.BatchNorm2d | None:
    """The batch norm that is one operator with the convolution before it, for both of their nodes."""

    def layer(of: fx.Node) -> nn.Module | None:
        return root.get_submodule(str(of.target)) if of.op == "call_module" else None

    conv, norm = node, next(iter(node.users), None)
    if isinstance(layer(node), nn.BatchNorm2d):
        conv, norm = node.all_input_nodes[0], node
    # Nothing else may read the convolution.
    pair = norm is not None and len(conv.users) == 1
    found = pair and isinstance(layer(conv), nn.Conv2d) and isinstance(layer(norm), nn.BatchNorm2d)
    return layer(norm) if found else None


def _batch_norm(writer: Writer, leaf: nn.BatchNorm2d, x: Computed, *, folded: bool) -> str:
    """A batch norm that follows no convolution is a depthwise one of 1x1, which every runtime has."""
    name = x.name
    if not folded:
        weight, bias = norm_constants(leaf)
        weights = [writer.weight(weight), writer.weight(bias)]
        name = writer.add("Conv", [name, *weights], kernel_shape=[1, 1], group=len(weight))
    if not isinstance(leaf, BatchNormAct2d):
        if type(leaf).forward is not nn.BatchNorm2d.forward:
            raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for {type(leaf).__name__}")
        return name
    writer.layer = f"{writer.layer}.act"
    return write_layer(writer, leaf.act, Computed(name, x.shape))


def _conv(writer: Writer, conv: nn.Conv2d, x: Computed, norm: nn.BatchNorm2d | None) -> str:
    weight, bias = conv_constants(conv, norm)
    inputs = [x.name, writer.weight(weight)] + ([] if bias is None else [writer.weight(bias)])
    return writer.add(
        "Conv",
        inputs,
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        pads=_conv_pads(writer, conv, x),
        dilations=list(conv.dilation),
        group=conv.groups,
    )


def _conv_pads(writer: Writer, conv: nn.Conv2d, x: Computed) -> list[int]:
    """Padding above, left, below and right."""
    if type(conv).forward is Conv2dSame.forward:
        left, right, top, bottom = pad_same_arg(x.shape[2:], conv.kernel_size, conv.stride, conv.dilation)
        return [top, left, bottom, right]
    plain = type(conv).forward is nn.Conv2d.forward and conv.padding_mode == "zeros"
    if not plain or isinstance(conv.padding, str):
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for this {type(conv).__name__}")
    return list(conv.padding) * 2


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _pair(size: int | tuple[int, int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


def _max_pool(writer: Writer, leaf: nn.MaxPool2d, x: Computed) -> str:
    kernel, strides, dilations = _pair(leaf.kernel_size), _pair(leaf.stride), _pair(leaf.dilation)
    pads = _pair(leaf.padding) * 2
    if isinstance(leaf, MaxPool2dSame):
        left, right, top, bottom = pad_same_arg(x.shape[2:], kernel, strides, dilations)
        pads = [top, left, bottom, right]
    sizes = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    return writer.add("MaxPool", [x.name], ceil_mode=int(leaf.ceil_mode), **sizes)


def _average_pool(writer: Writer, leaf: nn.AvgPool2d, x: Computed) -> str:
    if leaf.divisor_override is not None:
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for an average with its own divisor")
    sizes = {"kernel_shape": _pair(leaf.kernel_size), "strides": _pair(leaf.stride), "pads": _pair(leaf.padding) * 2}
    flags = {"ceil_mode": int(leaf.ceil_mode), "count_include_pad": int(leaf.count_include_pad and any(sizes["pads"]))}
    return writer.add("AveragePool", [x.name], **sizes, **flags)


def _global_pool(writer: Writer, leaf: SelectAdaptivePool2d, x: Computed) -> str:
    if leaf.pool_type not in ("", "avg", "fast", "fastavg"):  # fast ones average by a mean
        reason = f"no ONNX operator is known for a pool of the type {leaf.pool_type!r}"
        raise NotImplementedError(f"{writer.layer}: {reason}")
    pooled = writer.pool(x.name) if leaf.pool_type else x.name
    flattens = isinstance(leaf.flatten, nn.Flatten) or getattr(leaf.pool, "flatten", False)
    return writer.add("Flatten", [pooled]) if flattens else pooled


def _blur_pool(writer: Writer, leaf: BlurPool2d, x: Computed) -> str:
    left, right, top, bottom = leaf.padding
    pads = writer.weight(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    padded = writer.add("Pad", [x.name, pads], mode=leaf.pad_mode)
    weight = _array(leaf.filt).repeat(1 if leaf.channels else x.shape[1], axis=0)
    return writer.add("Conv", [padded, writer.weight(weight)], strides=_pair(leaf.stride), group=len(weight))


def _scale(writer: Writer, leaf: LayerScale | LayerScale2d, x: Computed) -> str:
    shape = (-1, 1, 1) if isinstance(leaf, LayerScale2d) else (-1,)
    return writer.with_constant("Mul", x.name, _array(leaf.gamma).reshape(shape))


def _relu6(writer: Writer, _leaf: nn.Module, x: Computed) -> str:
    return writer.add("Clip", [x.name, writer.weight(np.float32(0)), writer.weight(np.float32(6))])


def _silu(writer: Writer, _leaf: nn.Module, x: Computed) -> str:
    return writer.add("Mul", [x.name, writer.add("Sigmoid", [x.name])])


def _quick_gelu(writer: Writer, _leaf: nn.Module, x: Computed) -> str:
    return writer.add("Mul", [x.name, writer.add("Sigmoid", [writer.with_constant("Mul", x.name, 1.702)])])


def _gelu(writer: Writer, leaf: nn.Module, x: Computed) -> str:
    approximate = "tanh" if isinstance(leaf, acts.GELUTanh) else getattr(leaf, "approximate", "none")
    return writer.add("Gelu", [x.name], approximate=approximate)


def _flatten(writer: Writer, leaf: nn.Flatten, x: Computed) -> str:
    if (leaf.start_dim, leaf.end_dim) != (1, -1):
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for a flatten of some axes")
    return writer.add("Flatten", [x.name])


def _identity(_writer: Writer, _leaf: nn.Module, x: Computed) -> str:
    return x.name


def _unary(op: str, **attributes: object) -> Write:
    return lambda writer, _leaf, x: writer.add(op, [x.name], **attributes)


# By their exact classes.
_LAYERS: dict[type[nn.Module], Write] = {
    nn.Sequential: _identity,  # one without layers
    **NORMS,
    **TOKENS,
    Linear: linear,
    nn.Flatten: _flatten,
    nn.MaxPool2d: _max_pool,
    MaxPool2dSame: _max_pool,
    nn.AvgPool2d: _average_pool,
    BlurPool2d: _blur_pool,
    LayerScale: _scale,
    LayerScale2d: _scale,
}
# With their subclasses.
_ALIKE: dict[type[nn.Module], Write] = {
    nn.ReLU6: _relu6,
    nn.SiLU: _silu,
    nn.ReLU: _unary("Relu"),
    nn.Hardswish: _unary("HardSwish"),
    nn.Hardsigmoid: _unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    nn.Sigmoid: _unary("Sigmoid"),
    acts.Sigmoid: _unary("Sigmoid"),
    nn.Tanh: _unary("Tanh"),
    nn.GELU: _gelu,
    acts.GELU: _gelu,
    acts.GELUTanh: _gelu,
    acts.QuickGELU: _quick_gelu,
    SelectAdaptivePool2d: _global_pool,
    nn.Identity: _identity,
    nn.Dropout: _identity,
    DropPath: _identity,
    PatchDropout: _identity,
}
