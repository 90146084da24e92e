"""What each kind of layer does to channels, and which operator it is: one function a kind, by its exact type."""

from __future__ import annotations

import timm.layers as timm_layers
from timm.layers import (
    BatchNormAct2d,
    Conv2dSame,
    DropPath,
    EcaModule,
    LayerNorm,
    LayerNorm2d,
    LayerScale,
    LayerScale2d,
    RmsNorm,
    RmsNorm2d,
    SelectAdaptivePool2d,
    SimpleNorm,
    SimpleNorm2d,
)
from timm.layers.grn import GlobalResponseNorm
from torch import Tensor, nn

from ofa.supernet.derived.walk import Handler, Value, Walk
from ofa.supernet.operators import Operator

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Hardswish: "hard_swish",
    nn.SiLU: "swish",
    nn.Hardsigmoid: "hard_sigmoid",
    nn.Sigmoid: "sigmoid",
    nn.GELU: "gelu",
    nn.LeakyReLU: "leaky_relu",
    timm_layers.GELU: "gelu",
    timm_layers.GELUTanh: "gelu_tanh",
    timm_layers.QuickGELU: "quick_gelu",
    timm_layers.Swish: "swish",
    timm_layers.HardSwish: "hard_swish",
    timm_layers.HardSigmoid: "hard_sigmoid",
    timm_layers.Sigmoid: "sigmoid",
}

LAYER_NORMS = (nn.LayerNorm, LayerNorm, LayerNorm2d, GlobalResponseNorm, RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d)


def conv(walk: Walk, leaf: nn.Conv2d, name: str, inputs: list[Value], result: Tensor) -> Value:
    """A convolution begins a new axis, and a depthwise one keeps its own; groups between the two cut nothing."""
    (value,) = inputs
    if reason := _why_unknown(leaf):
        raise walk.unknown(leaf, reason)
    kernel, stride, padding = leaf.kernel_size[0], leaf.stride[0], _padding(leaf)
    depthwise = leaf.groups == leaf.in_channels == leaf.out_channels > 1
    if depthwise:
        axis = value.axis
    elif leaf.groups == 1:
        axis = walk.network.axes.new(leaf.out_channels, made_of=value.axis if _is_vector(walk, value) else None)
    else:
        reason = f"{name}: a convolution in {leaf.groups} groups"
        walk.fix(value, reason)
        axis = walk.network.axes.new(leaf.out_channels, fixed=reason)
    walk.leaf(name, value.axis, axis)
    kind = "depthwise" if depthwise else "conv"
    has_bias = leaf.bias is not None
    operator = Operator(kind, (value.tensor,), leaf.out_channels, kernel, stride, leaf.groups, padding, bias=has_bias)
    return walk.add(operator._replace(same=_pads_same(leaf)), axis, value.dim, name)


def _why_unknown(leaf: nn.Conv2d) -> str:
    """Why a convolution is no operator; empty where it is one."""
    if any(len(set(sizes)) > 1 for sizes in (leaf.kernel_size, leaf.stride, leaf.dilation, leaf.padding)):
        return "its rows and columns differ"
    if _pads_same(leaf) and leaf.kernel_size[0] % 2 == 0:
        return "an even kernel with TensorFlow's padding is not known"
    return "" if _padding(leaf) >= 0 else "a dilated kernel without padding is not known"


def _padding(leaf: nn.Conv2d) -> int:
    """What gives the side of the output: TensorFlow's padding rounds up, as half a kernel does; without dilation."""
    kernel = leaf.kernel_size[0]
    return kernel // 2 if _pads_same(leaf) else int(leaf.padding[0]) - (leaf.dilation[0] - 1) * (kernel - 1) // 2


def _pads_same(leaf: nn.Conv2d) -> bool:
    return isinstance(leaf, Conv2dSame) or isinstance(leaf.padding, str)


def _is_vector(walk: Walk, value: Value) -> bool:
    """Whether a tensor is a pooled map."""
    while value.tensor:
        writer = walk.operators[value.tensor - 1]
        if writer.kind == "pool":
            return True
        if writer.kind not in ("conv", "linear", "act"):
            return False
        value = value._replace(tensor=writer.inputs[0])
    return False


def batch_norm(walk: Walk, leaf: nn.BatchNorm2d, name: str, inputs: list[Value], result: Tensor) -> Value:
    """A part of the convolution before it. One with an activation is followed by that."""
    (value,) = inputs
    walk.leaf(name, value.axis, value.axis)
    if not walk.extend(value, norm=True):
        value = walk.add(
            Operator("norm", (value.tensor,), walk.channels(value), norm=True), value.axis, value.dim, name
        )
    act = getattr(leaf, "act", None)
    return activation(walk, act, name, [value], result) if act is not None else value


def activation(walk: Walk, leaf: nn.Module, name: str, inputs: list[Value], result: Tensor) -> Value:
    (value,) = inputs
    if isinstance(leaf, nn.Identity):
        return value
    act = ACTIVATIONS.get(type(leaf), type(leaf).__name__)
    if walk.extend(value, act=act):
        return value
    return walk.add(Operator("act", (value.tensor,), walk.channels(value), act=act), value.axis, value.dim, name)


def layer_norm(walk: Walk, leaf: nn.Module, name: str, inputs: list[Value], result: Tensor) -> Value:
    (value,) = inputs
    walk.leaf(name, value.axis, value.axis)
    if getattr(leaf, "weight", None) is None:
        return walk.add(Operator("act", (value.tensor,), walk.channels(value), act="norm"), value.axis, value.dim, name)
    has_bias = getattr(leaf, "bias", None) is not None
    operator = Operator("layer_norm", (value.tensor,), walk.channels(value), bias=has_bias)
    return walk.add(operator, value.axis, value.dim, name)


def linear(walk: Walk, leaf: nn.Linear, name: str, inputs: list[Value], result: Tensor) -> Value:
    (value,) = inputs
    axis = walk.network.axes.new(leaf.out_features)
    walk.leaf(name, value.axis, axis)
    operator = Operator("linear", (value.tensor,), leaf.out_features, bias=leaf.bias is not None)
    return walk.add(operator, axis, value.dim, name)


def scale(walk: Walk, leaf: nn.Module, name: str, inputs: list[Value], result: Tensor) -> Value:
    (value,) = inputs
    walk.leaf(name, value.axis, value.axis)
    return walk.add(Operator("scale", (value.tensor,), walk.channels(value)), value.axis, value.dim, name)


def eca(walk: Walk, leaf: EcaModule, name: str, inputs: list[Value], result: Tensor) -> Value:
    """A gate from the pooled channels by a convolution along them, whose few weights serve any number of channels."""
    (value,) = inputs
    if leaf.conv2 is not None:
        raise walk.unknown(leaf, "a channel attention of two layers is not known")
    walk.network.axes[value.axis].ordered = True
    channels, kernel = walk.channels(value), leaf.conv.kernel_size[0]
    pooled = walk.add(Operator("pool", (value.tensor,), channels), value.axis, value.dim)
    convolved = Operator("channel_conv", (pooled.tensor,), channels, kernel, act="sigmoid")
    gate = walk.add(convolved, value.axis, value.dim, name)
    return walk.add(Operator("mul", (value.tensor, gate.tensor), channels), value.axis, value.dim)


def pool(walk: Walk, leaf: SelectAdaptivePool2d, name: str, inputs: list[Value], result: Tensor) -> Value:
    """A pool over the whole map. One that joins a mean and a maximum has twice the channels, and cuts nothing."""
    (value,) = inputs
    channels = walk.channels(value)
    if leaf.pool_type == "":
        return value
    if result.shape[1] != channels:
        reason = f"{name}: a pool of the type {leaf.pool_type}"
        walk.fix(value, reason)
        axis = walk.network.axes.new(result.shape[1], fixed=reason)
    else:
        axis = value.axis
    return walk.add(Operator("pool", (value.tensor,), result.shape[1]), axis, 1)


def local_pool(walk: Walk, leaf: nn.Module, name: str, inputs: list[Value], result: Tensor) -> Value:
    (value,) = inputs
    kind = "max_pool" if isinstance(leaf, nn.MaxPool2d) else "avg_pool"
    kernel, stride, padding = (_one(size) for size in (leaf.kernel_size, leaf.stride, leaf.padding))
    ceil = bool(leaf.ceil_mode)
    if kernel == stride == 1:
        return value
    operator = Operator(kind, (value.tensor,), walk.channels(value), kernel, stride, padding=padding, ceil=ceil)
    return walk.add(operator, value.axis, value.dim, name)


def blur(walk: Walk, leaf: nn.Module, name: str, inputs: list[Value], result: Tensor) -> Value:
    """A fixed filter over each channel."""
    (value,) = inputs
    if leaf.channels is not None:
        walk.leaf(name, value.axis, value.axis)
    size = leaf.filt_size
    operator = Operator("blur", (value.tensor,), walk.channels(value), size, leaf.stride, padding=size // 2)
    return walk.add(operator, value.axis, value.dim, name)


def nothing(walk: Walk, leaf: nn.Module, name: str, inputs: list[Value], result: Tensor) -> Value:
    """Dropout and such."""
    return inputs[0]


def flatten(walk: Walk, leaf: nn.Module, name: str, inputs: list[Value], result: Tensor) -> Value:
    (value,) = inputs
    if result.ndim == 2 and result.shape[1] == walk.channels(value):
        return value._replace(dim=1)
    reason = f"{name}: it flattens maps of several positions"
    walk.fix(value, reason)
    return walk.add(
        Operator("reshape", (value.tensor,), result.shape[1]), walk.network.axes.new(result.shape[1], fixed=reason), 1
    )


def _one(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else int(size[0])


HANDLERS: dict[type[nn.Module], Handler] = {
    **dict.fromkeys(ACTIVATIONS, activation),
    **dict.fromkeys((nn.Conv2d, Conv2dSame), conv),
    **dict.fromkeys((nn.BatchNorm2d, BatchNormAct2d), batch_norm),
    **dict.fromkeys(LAYER_NORMS, layer_norm),
    **dict.fromkeys((nn.Dropout, nn.Identity, DropPath), nothing),
    **dict.fromkeys((LayerScale, LayerScale2d), scale),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d), local_pool),
    **dict.fromkeys((nn.Linear, timm_layers.Linear), linear),
    EcaModule: eca,
    SelectAdaptivePool2d: pool,
    nn.Flatten: flatten,
    timm_layers.BlurPool2d: blur,
}
