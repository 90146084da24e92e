"""Norms over channels as ONNX nodes: layer norms, RMS norms and their like, and global response normalization."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.layers import LayerNorm, LayerNorm2d, LayerNormFp32, RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d
from timm.layers.grn import GlobalResponseNorm
from torch import nn

from ofa.export.graph.writer import Computed, Writer

_TO_LAST, _TO_SECOND = (0, 2, 3, 1), (0, 3, 1, 2)  # the axis of channels, of a map


def _channels_last(write: Callable[[Writer, nn.Module, str], str]) -> Callable[[Writer, nn.Module, Computed], str]:
    """The norm of a map, by a function that normalises the last axis."""

    def write_map(writer: Writer, leaf: nn.Module, x: Computed) -> str:
        return writer.transpose(write(writer, leaf, writer.transpose(x.name, *_TO_LAST)), *_TO_SECOND)

    return write_map


def _of_tokens(write: Callable[[Writer, nn.Module, str], str]) -> Callable[[Writer, nn.Module, Computed], str]:
    return lambda writer, leaf, x: write(writer, leaf, x.name)


def _layer_norm(writer: Writer, leaf: nn.LayerNorm, x: str) -> str:
    size = _one_axis(writer, leaf)
    weight = torch.ones(size) if leaf.weight is None else leaf.weight
    bias = torch.zeros(size) if leaf.bias is None else leaf.bias
    inputs = [x, writer.weight(weight), writer.weight(bias)]
    return writer.add("LayerNormalization", inputs, axis=-1, epsilon=leaf.eps)


def _rms_norm(writer: Writer, leaf: RmsNorm, x: str) -> str:
    _one_axis(writer, leaf)
    eps = torch.finfo(torch.float32).eps if leaf.eps is None else leaf.eps
    mean_square = writer.reduce("ReduceMean", writer.add("Mul", [x, x]), [-1])
    root = writer.add("Sqrt", [writer.with_constant("Add", mean_square, eps)])
    normalised = writer.add("Div", [x, root])
    return normalised if leaf.weight is None else writer.with_constant("Mul", normalised, leaf.weight)


def _simple_norm(writer: Writer, leaf: SimpleNorm, x: str) -> str:
    """Divided by the deviation; the mean stays."""
    size = _one_axis(writer, leaf)
    centred = writer.add("Sub", [x, writer.reduce("ReduceMean", x, [-1])])
    mean_square = writer.reduce("ReduceMean", writer.add("Mul", [centred, centred]), [-1])
    variance = writer.with_constant("Mul", mean_square, size / (size - 1))
    normalised = writer.add("Div", [x, writer.add("Sqrt", [writer.with_constant("Add", variance, leaf.eps)])])
    return normalised if leaf.weight is None else writer.with_constant("Mul", normalised, leaf.weight)


def _one_axis(writer: Writer, leaf: nn.Module) -> int:
    if len(leaf.normalized_shape) != 1:
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for a norm over several axes")
    return leaf.normalized_shape[0]


def _response_norm(writer: Writer, leaf: GlobalResponseNorm, x: Computed) -> str:
    """The norm of each channel's map, divided by the mean of all channels' norms, scales that map."""
    axis = leaf.channel_dim % len(x.shape)
    norms = writer.reduce("ReduceL2", x.name, leaf.spatial_dim)
    means = writer.with_constant("Add", writer.reduce("ReduceMean", norms, [axis]), leaf.eps)
    scaled = writer.add("Mul", [x.name, writer.add("Div", [norms, means])])
    weighted = writer.with_constant("Mul", scaled, leaf.weight.reshape(leaf.wb_shape))
    return writer.add("Add", [x.name, writer.with_constant("Add", weighted, leaf.bias.reshape(leaf.wb_shape))])


NORMS: dict[type[nn.Module], Callable[[Writer, nn.Module, Computed], str]] = {
    nn.LayerNorm: _of_tokens(_layer_norm),
    LayerNorm: _of_tokens(_layer_norm),
    LayerNormFp32: _of_tokens(_layer_norm),
    LayerNorm2d: _channels_last(_layer_norm),
    RmsNorm: _of_tokens(_rms_norm),
    RmsNorm2d: _channels_last(_rms_norm),
    SimpleNorm: _of_tokens(_simple_norm),
    SimpleNorm2d: _channels_last(_simple_norm),
    GlobalResponseNorm: _response_norm,
}
