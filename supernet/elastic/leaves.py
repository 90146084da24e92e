"""Every plain layer that can be made elastic: how, why not, and what a plain layer of a narrower subnet is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from timm.layers import BatchNormAct2d, BlurPool2d, ClassifierHead, Conv2dSame, Linear, NormMlpClassifierHead
from timm.models.vision_transformer import Attention
from torch import nn

from ofa.supernet.elastic.attention import (
    ELASTIC_TRANSFORMERS,
    make_attention_elastic,
    make_transformer_elastic,
    plain_attention,
    plain_transformer,
    why_attention_is_fixed,
)
from ofa.supernet.elastic.blur import make_blur_elastic, plain_blur
from ofa.supernet.elastic.conv import make_conv_elastic, plain_conv, why_conv_is_fixed
from ofa.supernet.elastic.depthwise import (
    is_depthwise,
    make_depthwise_elastic,
    plain_depthwise,
    why_depthwise_is_fixed,
    why_kernel_is_fixed,
)
from ofa.supernet.elastic.kernel_conv import make_kernel_conv_elastic, why_conv_kernel_is_fixed
from ofa.supernet.elastic.layer_norm import (
    ELASTIC_LAYER_NORMS,
    make_layer_norm_elastic,
    plain_layer_norm,
    why_layer_norm_is_fixed,
)
from ofa.supernet.elastic.linear import make_linear_elastic, plain_linear
from ofa.supernet.elastic.norm import make_batch_norm_elastic, plain_batch_norm, why_batch_norm_is_fixed
from ofa.supernet.elastic.scale import ELASTIC_SCALES, make_scale_elastic


def _nothing_else(leaf: nn.Module, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    """A leaf whose width is that of its parameters alone."""
    return {}


def _never(leaf: nn.Module) -> str:
    return ""


class Kind(NamedTuple):
    """What is known of a kind of layer; ``mixes`` says whether what it writes to a channel depends on other channels,
    in itself rather than in a layer that it has."""

    make_elastic: Callable[[nn.Module], None]
    plain: Callable[..., dict[str, Any]]
    why_fixed: Callable[[nn.Module], str] = _never
    mixes: bool = True


_DEPTHWISE = Kind(make_depthwise_elastic, plain_depthwise, why_depthwise_is_fixed, mixes=False)
_CONV = Kind(make_conv_elastic, plain_conv, why_conv_is_fixed)
_BATCH_NORM = Kind(make_batch_norm_elastic, plain_batch_norm, why_batch_norm_is_fixed, mixes=False)
_LAYER_NORM = Kind(make_layer_norm_elastic, plain_layer_norm, why_layer_norm_is_fixed)

# Depthwise convolutions have the class of others: ``_kind`` tells them apart.
KINDS: dict[type[nn.Module], Kind] = {
    nn.Conv2d: _CONV,
    Conv2dSame: _CONV,
    **dict.fromkeys((nn.Linear, Linear), Kind(make_linear_elastic, plain_linear)),
    nn.BatchNorm2d: _BATCH_NORM,
    BatchNormAct2d: _BATCH_NORM,
    BlurPool2d: Kind(make_blur_elastic, plain_blur, mixes=False),
    **dict.fromkeys(ELASTIC_LAYER_NORMS, _LAYER_NORM),
    **dict.fromkeys(ELASTIC_SCALES, Kind(make_scale_elastic, _nothing_else, mixes=False)),
    Attention: Kind(make_attention_elastic, plain_attention, why_attention_is_fixed, mixes=False),
    **dict.fromkeys(ELASTIC_TRANSFORMERS, Kind(make_transformer_elastic, plain_transformer, mixes=False)),
}


def _plain_classifier(head: nn.Module, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    return {"in_features": inp, **({"num_features": out} if hasattr(head, "num_features") else {})}


def _plain_mlp_classifier(head: nn.Module, *, out: int, inp: int, kernel: int | None) -> dict[str, Any]:
    return {"in_features": inp, "num_features": out, **({"hidden_size": out} if head.hidden_size else {})}


# Modules that are not elastic themselves and keep a width nevertheless, for ``reset_classifier``.
HOLDERS: dict[type[nn.Module], Callable[..., dict[str, Any]]] = {
    ClassifierHead: _plain_classifier,
    NormMlpClassifierHead: _plain_mlp_classifier,
}


def why_fixed(leaf: nn.Module) -> str:
    """Why a plain layer cannot be made elastic, or an empty string where it can. Subclasses of known layers cannot."""
    kind = _kind(leaf, type(leaf))
    return kind.why_fixed(leaf) if kind else f"{type(leaf).__name__} is not known"


def can_be_elastic(leaf: nn.Module) -> bool:
    """Whether ``make_leaf_elastic`` takes a plain layer."""
    return not why_fixed(leaf)


def can_choose_kernel(leaf: nn.Module) -> bool:
    """Whether ``make_leaf_elastic`` takes several kernels for a plain layer."""
    return not _why_kernel_is_fixed(leaf)


def mixes_channels(leaf: nn.Module) -> bool:
    """Whether a layer, plain or elastic, makes a channel of several; norms over channels do, batch norms do not."""
    return next((kind.mixes for plain in type(leaf).__mro__ if (kind := _kind(leaf, plain))), False)


def make_leaf_elastic(leaf: nn.Module, *, kernels: tuple[int, ...] | None = None) -> None:
    """Turns a plain layer elastic by another class, in place, active at its full width.

    What can then be chosen: ``active_out`` of convolutions and linear layers, ``active_kernel`` of convolutions with
    several ``kernels``, ``active_heads`` of attentions. All else follows the width of the input.

    Args:
        kernels: that a convolution can choose from, ascending; the largest is its own.

    Raises:
        TypeError: the layer cannot be made elastic: see ``why_fixed``; or it cannot choose among kernels.
    """
    if reason := why_fixed(leaf):
        raise TypeError(f"cannot make {type(leaf).__name__} elastic: {reason}")
    if kernels is None:
        _kind(leaf, type(leaf)).make_elastic(leaf)
    elif reason := _why_kernel_is_fixed(leaf):
        raise TypeError(f"cannot choose kernels for {type(leaf).__name__}: {reason}")
    elif is_depthwise(leaf):
        make_depthwise_elastic(leaf, kernels)
    else:
        make_kernel_conv_elastic(leaf, kernels)


def plain_attributes(leaf: nn.Module, *, out: int, inp: int, kernel: int | None = None) -> dict[str, Any]:
    """The attributes in which the plain layer of a subnet differs from the plain layer of the largest network.

    Args:
        leaf: plain or elastic; unknown ones have no such attributes.
        out, inp: the channels that it writes and reads; where it keeps its axis, both are the same. For an attention
            ``out`` counts its heads; for timm's classifier heads it is the width that the last layer reads.
        kernel: of a convolution; None is its own.
    """
    for plain in type(leaf).__mro__:
        if kind := _kind(leaf, plain):
            return kind.plain(leaf, out=out, inp=inp, kernel=kernel)
    holder = HOLDERS.get(type(leaf), _nothing_else)
    return holder(leaf, out=out, inp=inp, kernel=kernel)


def _why_kernel_is_fixed(leaf: nn.Module) -> str:
    return why_kernel_is_fixed(leaf) if is_depthwise(leaf) else why_conv_kernel_is_fixed(leaf)


def _kind(leaf: nn.Module, plain: type) -> Kind | None:
    kind = KINDS.get(plain)
    return _DEPTHWISE if kind is _CONV and is_depthwise(leaf) else kind
