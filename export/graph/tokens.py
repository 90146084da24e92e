"""Linear layers and attention as ONNX nodes, and the modules that are written as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from timm.layers import Attention, AttentionPoolLatent, EcaModule, PatchEmbed
from torch import nn

from ofa.export.graph.writer import Computed, Writer


def linear(writer: Writer, leaf: nn.Linear, x: Computed) -> str:
    """A linear layer of vectors, tokens or, channels last, maps."""
    if len(x.shape) == 2:
        bias = [] if leaf.bias is None else [writer.weight(leaf.bias)]
        return writer.add("Gemm", [x.name, writer.weight(leaf.weight), *bias], transB=1)
    product = writer.with_constant("MatMul", x.name, leaf.weight.T)
    return product if leaf.bias is None else writer.with_constant("Add", product, leaf.bias)


def _attention(writer: Writer, leaf: Attention, x: Computed) -> str:
    if getattr(leaf, "gate", None) is not None:
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for attention with a gate")
    tokens, heads, size = x.shape[1], leaf.num_heads, leaf.head_dim
    qkv = linear(writer, leaf.qkv, x)
    queries, keys, values = (
        _heads(writer, part, tokens, heads, size) for part in writer.split(qkv, 3, heads * size, axis=2)
    )
    result = _attended(writer, leaf, queries, keys, values, scale=leaf.scale)
    merged = Computed(writer.reshape(writer.transpose(result, 0, 2, 1, 3), tokens, heads * size), x.shape)
    merged = Computed(writer.child(leaf, "norm", merged), x.shape)
    return linear(writer, leaf.proj, merged)


def _heads(writer: Writer, x: str, tokens: int, heads: int, size: int) -> Computed:
    """``(batch, heads, tokens, size)`` of ``(batch, tokens, heads * size)``."""
    return Computed(writer.transpose(writer.reshape(x, tokens, heads, size), 0, 2, 1, 3), (0, heads, tokens, size))


def _attended(
    writer: Writer, leaf: nn.Module, queries: Computed, keys: Computed, values: Computed, *, scale: float
) -> str:
    """The values, weighted by the softmax of the products of queries and keys."""
    queries = queries._replace(name=writer.child(leaf, "q_norm", queries))
    keys = keys._replace(name=writer.child(leaf, "k_norm", keys))
    # As torch does it, each factor has the root of the scale.
    root = math.sqrt(scale)
    queries_scaled = writer.with_constant("Mul", queries.name, root)
    keys_scaled = writer.with_constant("Mul", writer.transpose(keys.name, 0, 1, 3, 2), root)
    scores = writer.add("MatMul", [queries_scaled, keys_scaled])
    return writer.add("MatMul", [writer.add("Softmax", [scores], axis=-1), values.name])


def _latent_pool(writer: Writer, leaf: AttentionPoolLatent, x: Computed) -> str:
    """A trained query attends to the tokens."""
    if leaf.pool not in ("token", "avg") or leaf.latent_len != 1 or leaf.pos_embed is not None:
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for this attention pool")
    _, tokens, channels = x.shape
    heads, size = leaf.num_heads, leaf.head_dim

    # The query is the same for all images; a part of the sum with it is the constant of a product.
    query = leaf.q_norm(leaf.q(leaf.latent).reshape(1, 1, heads, size).transpose(1, 2))
    keys, values = (
        _heads(writer, part, tokens, heads, size)
        for part in writer.split(linear(writer, leaf.kv, x), 2, heads * size, axis=2)
    )
    keys = keys._replace(name=writer.child(leaf, "k_norm", keys))
    products = writer.with_constant("Mul", keys.name, query * leaf.scale)
    scores = writer.reduce("ReduceSum", products, [-1])
    weights = writer.add("Softmax", [scores], axis=2)
    attended = writer.reduce("ReduceSum", writer.add("Mul", [values.name, weights]), [2], keepdims=False)
    pooled = Computed(writer.reshape(attended, channels), (x.shape[0], channels))

    pooled = pooled._replace(name=writer.child(leaf, "proj", pooled))
    if leaf.mlp is None:
        return pooled.name
    branch = Computed(writer.child(leaf, "norm", pooled), pooled.shape)
    for name in ("fc1", "act", "norm", "fc2"):
        branch = Computed(writer.child(leaf.mlp, name, branch), pooled.shape)
    return writer.add("Add", [pooled.name, branch.name])


def _patch_embed(writer: Writer, leaf: PatchEmbed, x: Computed) -> str:
    remainders = [size % patch for size, patch in zip(x.shape[2:], leaf.patch_size, strict=True)]
    if leaf.dynamic_img_pad and any(remainders):
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for padded patches")
    if not leaf.flatten and leaf.output_fmt not in ("NCHW", "NHWC"):
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for patches as {leaf.output_fmt}")
    patches = writer.child(leaf, "proj", x)
    rows, columns = (size // patch for size, patch in zip(x.shape[2:], leaf.patch_size, strict=True))
    channels = leaf.proj.out_channels
    shape: tuple[int, ...] = (x.shape[0], channels, rows, columns)
    if leaf.flatten:
        patches = writer.transpose(writer.reshape(patches, channels, rows * columns), 0, 2, 1)
        shape = (x.shape[0], rows * columns, channels)
    elif leaf.output_fmt == "NHWC":
        patches, shape = writer.transpose(patches, 0, 2, 3, 1), (x.shape[0], rows, columns, channels)
    return writer.child(leaf, "norm", Computed(patches, shape))


def _channel_attention(writer: Writer, leaf: EcaModule, x: Computed) -> str:
    """A convolution over the channels of the mean: channels are the columns of a map here."""
    if leaf.conv2 is not None:
        raise NotImplementedError(f"{writer.layer}: no ONNX operator is known for channel attention with an MLP")
    conv = leaf.conv
    columns = writer.transpose(writer.pool(x.name), 0, 2, 3, 1)
    weights = [writer.weight(conv.weight[:, :, None])]
    weights += [] if conv.bias is None else [writer.weight(conv.bias)]
    side = conv.padding[0]
    mixed = writer.add("Conv", [columns, *weights], kernel_shape=[1, conv.kernel_size[0]], pads=[0, side, 0, side])
    gate = writer.transpose(writer.child(leaf, "gate", Computed(mixed, (x.shape[0], 1, 1, x.shape[1]))), 0, 3, 1, 2)
    return writer.add("Mul", [x.name, gate])


TOKENS: dict[type[nn.Module], Callable[[Writer, nn.Module, Computed], str]] = {
    nn.Linear: linear,
    torch.nn.modules.linear.NonDynamicallyQuantizableLinear: linear,
    Attention: _attention,
    AttentionPoolLatent: _latent_pool,
    PatchEmbed: _patch_embed,
    EcaModule: _channel_attention,
}
COMPOSITES = (Attention, AttentionPoolLatent, PatchEmbed, EcaModule)
