"""Self-attention with a part of its heads, and the tokens and positions of a model that has it."""

from __future__ import annotations

from typing import Any

from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Attention, VisionTransformer
from torch import Tensor, nn

from ofa.supernet.elastic.linear import ElasticQkv, make_linear_elastic
from ofa.supernet.elastic.narrowed import Narrowed, first_features


class ElasticAttention(Attention):
    """timm's attention with its first ``active_heads`` heads; every head keeps its dimension.

    The width that it reads is that of its input; the width that it writes is ``proj.active_out``.
    """

    @property
    def active_heads(self) -> int:
        return self.num_heads

    @active_heads.setter
    def active_heads(self, heads: int) -> None:
        self.num_heads, self.attn_dim = heads, heads * self.head_dim
        self.qkv.active_out = 3 * self.attn_dim
        if self.gate is not None:
            self.gate.active_out = self.attn_dim


def why_attention_is_fixed(attention: nn.Module) -> str:
    """What is needed to make an attention elastic, or nothing where nothing is missing."""
    if type(attention) is not Attention:
        return "timm's Attention is needed"
    if not hasattr(attention, "attn_dim"):
        return "a newer timm is needed, whose Attention may have another width than its input"
    return ""


def make_attention_elastic(attention: nn.Module) -> None:
    """Turns an attention and the linear layers in it elastic, in place. Other layers in it are left as they are."""
    if reason := why_attention_is_fixed(attention):
        raise TypeError(f"cannot make {type(attention).__name__} elastic: {reason}")
    for linear in (attention.qkv, attention.proj, getattr(attention, "gate", None)):
        if linear is not None:
            make_linear_elastic(linear)
    attention.qkv.__class__ = ElasticQkv
    attention.__class__ = ElasticAttention


def plain_attention(attention: nn.Module, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    """Attributes of a plain attention with ``out`` heads; those of its linear layers are their own."""
    return {"num_heads": out, "attn_dim": out * attention.head_dim}


class _ReadsWidth:
    """Adds the first ``x.shape[-1]`` features of tokens and positions to the patches."""

    def _pos_embed(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        if width == self.embed_dim:
            return super()._pos_embed(x)
        names = [name for name in ("cls_token", "reg_token", "dist_token", "pos_embed") if hasattr(self, name)]
        narrow = Narrowed(self, **{name: first_features(getattr(self, name), width) for name in names})
        return super()._pos_embed.__func__(narrow, x)


class ElasticVisionTransformer(_ReadsWidth, VisionTransformer):
    """timm's vision transformer, as wide as its patch embedding is; its layers are elastic by themselves."""


class ElasticVisionTransformerDistilled(_ReadsWidth, VisionTransformerDistilled):
    """The same with DeiT's distillation token."""


ELASTIC_TRANSFORMERS: dict[type[nn.Module], type[nn.Module]] = {
    VisionTransformer: ElasticVisionTransformer,
    VisionTransformerDistilled: ElasticVisionTransformerDistilled,
}


def make_transformer_elastic(model: nn.Module) -> None:
    """Turns the tokens and positions of a vision transformer elastic, in place; its layers are left as they are."""
    if type(model) not in ELASTIC_TRANSFORMERS:
        raise TypeError(f"cannot make {type(model).__name__} elastic: timm's VisionTransformer is needed")
    model.__class__ = ELASTIC_TRANSFORMERS[type(model)]


def plain_transformer(model: nn.Module, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    """Attributes of a plain vision transformer that is ``out`` wide."""
    return dict.fromkeys(("embed_dim", "num_features", "head_hidden_size"), out)
