"""timm's MobileNetV3: how a subnet becomes constructor arguments, and which of its leaves are elastic.

``model.blocks`` is: the first separable block, the elastic stages, the head's 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from timm.layers import get_act_layer
from timm.models import MobileNetV3
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ofa.supernet.layers import (
    ElasticDepthwiseConv2d,
    make_batch_norm_elastic,
    make_conv_elastic,
    make_depthwise_elastic,
    make_stage_elastic,
)
from ofa.supernet.space import SearchSpace, Slot, Subnet, mid_width

_SE_RATIO = 0.25
_ACTS = {"relu": "re", "relu6": "r6", "hard_swish": "hs", "swish": "sw"}


def describe(space: SearchSpace, subnet: Subnet, *, num_classes: int, in_chans: int) -> dict[str, Any]:
    """What timm needs to build this subnet, as JSON values: ``build`` and a reader without ofa make the model of it."""
    first = f"ds_r1_k3_s1_c{space.stem.first_width}_n{_ACTS[space.stem.first_act]}"
    blocks = [[first], *([] for _ in space.stages), [f"cn_r1_k1_s1_c{space.head.width}"]]
    for slot, kernel, expand in zip(space.slots, subnet.kernels, subnet.expands, strict=True):
        stage = space.stages[slot.stage]
        if slot.index < subnet.depths[slot.stage]:
            stride = stage.stride if slot.index == 0 else 1
            se = f"_se{_SE_RATIO}" if stage.se else ""
            blocks[1 + slot.stage].append(f"ir_r1_k{kernel}_s{stride}_e{expand}_c{stage.width}{se}_n{_ACTS[stage.act]}")
    return {
        "class": "timm.models.MobileNetV3",
        "blocks": blocks,
        "num_classes": num_classes,
        "in_chans": in_chans,
        "stem_size": space.stem.width,
        "stem_stride": space.stem.stride,
        "num_features": space.head.features,
        "act_layer": space.act,
    }


def build(
    description: dict[str, Any], *, drop_rate: float = 0.0, drop_path_rate: float = 0.0, device: str | None = None
) -> MobileNetV3:
    """The timm model that ``describe`` described, freshly initialised (or on the ``"meta"`` device)."""
    with _WithoutInit() if device == "meta" else nullcontext():
        model = MobileNetV3(
            **_arguments(description), drop_rate=drop_rate, drop_path_rate=drop_path_rate, device=device
        )
    model.conv_stem.stride = (description["stem_stride"],) * 2  # timm's own is always 2
    return model


def _arguments(description: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: description[key] for key in ("num_classes", "in_chans", "stem_size", "num_features")},
        "block_args": decode_arch_def(description["blocks"]),
        "act_layer": get_act_layer(description["act_layer"]),
        "se_layer": partial(
            SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU, rd_round_fn=round_channels
        ),
        "round_chs_fn": int,  # widths are spelled out in the blocks
        "head_bias": False,
    }


class _WithoutInit(TorchFunctionMode):
    """Skips random initialisation, which on the meta device does nothing and takes most of a build's time."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", None) == "torch.nn.init":
            return None
        return func(*args, **(kwargs or {}))


def make_elastic(model: MobileNetV3, space: SearchSpace) -> None:
    """Replaces the classes of the elastic leaves of the largest model of ``space``, in place."""
    for stage in model.blocks[1:-1]:
        make_stage_elastic(stage)
    for slot, block in slot_blocks(model, space):
        make_depthwise_elastic(block.conv_dw, space.stages[slot.stage].kernels)
        for conv in (block.conv_pw, block.conv_pwl):
            make_conv_elastic(conv)
        for norm in (block.bn1, block.bn2):
            make_batch_norm_elastic(norm)
        if space.stages[slot.stage].se:
            make_conv_elastic(block.se.conv_reduce)
            make_conv_elastic(block.se.conv_expand)


def activate(model: MobileNetV3, space: SearchSpace, subnet: Subnet) -> None:
    """Makes an elastic model run as ``subnet``."""
    for stage, depth in zip(model.blocks[1:-1], subnet.depths, strict=True):
        stage.active_depth = depth
    for (slot, block), kernel, expand in zip(slot_blocks(model, space), subnet.kernels, subnet.expands, strict=True):
        width = mid_width(slot.in_width, expand)
        block.conv_pw.active_out = width
        block.conv_dw.active_kernel = kernel
        if space.stages[slot.stage].se:
            block.se.conv_reduce.active_out = round_channels(width * _SE_RATIO)
            block.se.conv_expand.active_out = width


def extract_state(model: MobileNetV3, target: MobileNetV3) -> dict[str, Tensor]:
    """The weights of an elastic model that the plain model ``target`` uses, kernel transforms baked in."""
    source = model.state_dict()
    state = {}
    with torch.no_grad():
        for name, tensor in target.state_dict().items():
            leaf = model.get_submodule(name.rpartition(".")[0])
            if isinstance(leaf, ElasticDepthwiseConv2d):
                part = leaf.active_weight(tensor.shape[0], tensor.shape[-1])
            else:
                part = source[name][tuple(slice(size) for size in tensor.shape)]
            state[name] = part.detach().clone(memory_format=torch.contiguous_format)
    return state


def slot_blocks(model: MobileNetV3, space: SearchSpace) -> Iterator[tuple[Slot, InvertedResidual]]:
    """The block slots of the largest model of ``space``, each with its module."""
    for slot in space.slots:
        yield slot, model.blocks[1 + slot.stage][slot.index]


def sort_channels(model: MobileNetV3, space: SearchSpace, *, opened: int) -> None:
    """Reorders every block's middle channels, most important first, without changing the full network's function.

    Importance is the L1 norm of a channel's weights in the projection that reads it (of a squeezed channel: in the
    squeeze-excite expansion), as in "Once-for-All", section 3. The ``opened`` largest expand ratios are in use already:
    channels never cross the prefix boundaries of those, so that the subnets trained so far keep their function too.
    """
    with torch.no_grad():
        for slot, block in slot_blocks(model, space):
            stage = space.stages[slot.stage]
            bounds = [mid_width(slot.in_width, expand) for expand in stage.expands[-opened:]]
            order = _sorted_within(block.conv_pwl.weight.abs().sum((0, 2, 3)), bounds)
            for leaf in (block.conv_pw, block.bn1, block.conv_dw, block.bn2):
                _reorder(leaf, order, names=("weight", "bias", "running_mean", "running_var"))
            _reorder(block.conv_pwl, order, names=("weight",), axis=1)
            if stage.se:
                _reorder(block.se.conv_reduce, order, names=("weight",), axis=1)
                _reorder(block.se.conv_expand, order, names=("weight", "bias"))
                squeezed = [round_channels(bound * _SE_RATIO) for bound in bounds]
                order = _sorted_within(block.se.conv_expand.weight.abs().sum((0, 2, 3)), squeezed)
                _reorder(block.se.conv_reduce, order, names=("weight", "bias"))
                _reorder(block.se.conv_expand, order, names=("weight",), axis=1)


def _sorted_within(importance: Tensor, bounds: list[int]) -> Tensor:
    parts, start = [], 0
    for stop in sorted(set(bounds)):
        parts.append(start + importance[start:stop].argsort(descending=True, stable=True))
        start = stop
    return torch.cat(parts)


def _reorder(leaf: nn.Module, order: Tensor, *, names: tuple[str, ...], axis: int = 0) -> None:
    for name in names:
        tensor = getattr(leaf, name, None)
        if tensor is not None:
            tensor.copy_(tensor.index_select(axis, order))


def parts(model: MobileNetV3) -> tuple[nn.Module, list[nn.Sequential], nn.Module]:
    """A plain model cut into stem, elastic stages and head, sharing its layers: what a cost table measures apart."""
    stem = nn.Sequential(model.conv_stem, model.bn1, model.blocks[0])
    head = nn.Sequential(
        model.blocks[-1],
        model.global_pool,
        model.conv_head,
        model.norm_head,
        model.act2,
        model.flatten,
        model.classifier,
    )
    return stem, list(model.blocks[1:-1]), head
