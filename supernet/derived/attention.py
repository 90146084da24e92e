"""timm's attention as operators: its heads are channels that are kept or left out together."""

from __future__ import annotations

from torch import Tensor, nn

from ofa.supernet.derived.layers import layer_norm, linear
from ofa.supernet.derived.walk import Value, Walk
from ofa.supernet.elastic.attention import why_attention_is_fixed
from ofa.supernet.operators import Operator


def attention(walk: Walk, leaf: nn.Module, name: str, inputs: list[Value], result: Tensor) -> Value:
    """Queries, keys and values by one layer; their two products; and a layer that reads all heads."""
    if reason := why_attention_is_fixed(leaf):
        raise walk.unknown(leaf, reason)
    (value,) = inputs
    axes, channels = walk.network.axes, leaf.attn_dim

    # The channels of all heads, and those that follow them exactly: queries, keys and values, and a count of heads.
    inner = axes.new(channels, kind="heads", step=leaf.head_dim)
    thirds = axes.new(3 * channels, made_of=inner, step=3)
    heads = axes.new(leaf.num_heads, made_of=inner, step=1)
    walk.leaf(name, value.axis, inner, step=leaf.head_dim)

    # Every weight is a product of a query and a key; the values are weighted by them.
    walk.leaf(f"{name}.qkv", value.axis, thirds)
    made = Operator("linear", (value.tensor,), 3 * channels, bias=leaf.qkv.bias is not None)
    qkv = walk.add(made, thirds, 2, f"{name}.qkv")
    queries, keys = (
        _norm_of_heads(walk, norm, f"{name}.{which}", qkv, inner=inner, heads=heads)
        for which, norm in (("q_norm", leaf.q_norm), ("k_norm", leaf.k_norm))
    )
    product = Operator("matmul", (queries.tensor, keys.tensor), channels, groups=leaf.num_heads)
    scores = walk.add(product, inner, 1, groups=heads)
    weights = walk.add(Operator("softmax", (scores.tensor,), leaf.num_heads), heads, 1)
    weighted = Operator("matmul", (weights.tensor, qkv.tensor), channels, groups=leaf.num_heads)
    out = walk.add(weighted, inner, 2, groups=heads)

    # What follows reads all heads.
    if not isinstance(leaf.norm, nn.Identity):
        out = layer_norm(walk, leaf.norm, f"{name}.norm", [out], result)
    if leaf.gate is not None:
        walk.leaf(f"{name}.gate", value.axis, inner)
        made = Operator("linear", (value.tensor,), channels, bias=leaf.gate.bias is not None, act="sigmoid")
        gate = walk.add(made, inner, 2, f"{name}.gate")
        out = walk.add(Operator("mul", (out.tensor, gate.tensor), channels), inner, 2)
    return linear(walk, leaf.proj, f"{name}.proj", [out], result)


def _norm_of_heads(walk: Walk, norm: nn.Module, name: str, qkv: Value, *, inner: int, heads: int) -> Value:
    """A norm over the channels of each head, whose parameters all heads share."""
    if isinstance(norm, nn.Identity):
        return qkv
    channels, groups = walk.network.axes[inner].size, walk.network.axes[heads].size
    if getattr(norm, "weight", None) is None:
        return walk.add(Operator("act", (qkv.tensor,), channels, act="norm"), inner, 2, name)
    has_bias = getattr(norm, "bias", None) is not None
    operator = Operator("layer_norm", (qkv.tensor,), channels, groups=groups, bias=has_bias)
    return walk.add(operator, inner, 2, name, groups=heads)
