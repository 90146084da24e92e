"""What timm's VisionTransformer does after its last norm, as layers of their own."""

from __future__ import annotations

from torch import Tensor, nn

from ofa.supernet.derived.layers import linear
from ofa.supernet.derived.walk import Value, Walk
from ofa.supernet.operators import Operator


class Pool(nn.Module):
    """Runs the model's own ``pool``: ``(batch, tokens + patches, width)`` to ``(batch, width)``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.attn_pool, self.global_pool = model.attn_pool, model.global_pool
        self.num_prefix_tokens, self.pool_include_prefix = model.num_prefix_tokens, model.pool_include_prefix
        self._pool = type(model).pool

    def forward(self, x: Tensor) -> Tensor:
        return self._pool(self, x)


def pool(walk: Walk, leaf: Pool, name: str, inputs: list[Value], result: Tensor) -> Value:
    """The class token, or the patches pooled. Pooling by attention is kept as it is."""
    (value,) = inputs
    if leaf.attn_pool is not None:
        walk.network.names[leaf] = "attn_pool"
        raise walk.unknown(leaf, f"{type(leaf.attn_pool).__name__} is not known")
    if not leaf.global_pool:
        return value
    kind = "select" if leaf.global_pool == "token" else "pool"
    return walk.add(Operator(kind, (value.tensor,), walk.channels(value)), value.axis, 1)


class DistilledHead(nn.Module):
    """Runs ``forward_head`` of DeiT's distilled model: two classifiers, of the class token and of the other one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.head_drop, self.head, self.head_dist = model.head_drop, model.head, model.head_dist
        self.distilled_training = model.distilled_training
        self._head = type(model).forward_head

    def forward(self, x: Tensor) -> Tensor:
        return self._head(self, x)


def distilled_head(walk: Walk, leaf: DistilledHead, name: str, inputs: list[Value], result: Tensor) -> Value:
    """The mean of what both say."""
    (value,) = inputs
    said = []
    for classifier in ("head", "head_dist"):
        token = walk.add(Operator("select", (value.tensor,), walk.channels(value)), value.axis, 1)
        said.append(linear(walk, getattr(leaf, classifier), classifier, [token], result))
    axis = walk.network.axes.join(said[0].axis, said[1].axis, where="head_dist")
    return walk.add(Operator("add", tuple(value.tensor for value in said), walk.channels(said[0])), axis, 1)
