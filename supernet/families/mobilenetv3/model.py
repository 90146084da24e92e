"""timm's MobileNetV3: how a subnet becomes constructor arguments, and which of its leaves are elastic.

``model.blocks`` is: the first separable block, the elastic stages, the head's 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from timm.layers import get_act_layer
from timm.models import MobileNetV3
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from torch import nn

from ofa.supernet.channel_sorting import ChannelGroup
from ofa.supernet.derived.classifier import draw_classifier
from ofa.supernet.elastic.conv import make_conv_elastic
from ofa.supernet.elastic.depthwise import make_depthwise_elastic
from ofa.supernet.elastic.norm import make_batch_norm_elastic
from ofa.supernet.elastic.stage import make_stage_elastic
from ofa.supernet.families.mobilenetv3.space import Space, mid_channels
from ofa.supernet.relaxation.mixing.plan import Depths, Kernels, MixingPlan, Width
from ofa.supernet.space import BlockPosition, Subnet

_SE_RATIO = 0.25
_ACTS = {"relu": "re", "relu6": "r6", "hard_swish": "hs", "swish": "sw"}


def describe(space: Space, subnet: Subnet, *, num_classes: int, in_chans: int) -> dict[str, Any]:
    """What timm needs to build this subnet, as JSON values: ``build`` and a reader without ofa make the model of it."""
    first = f"ds_r1_k3_s1_c{space.stem.first_width}_n{_ACTS[space.stem.first_act]}"
    blocks = [[first], *([] for _ in space.stages), [f"cn_r1_k1_s1_c{space.head.width}"]]
    for position, kernel, expand in zip(space.blocks, subnet.kernels, subnet.expands, strict=True):
        stage = space.stages[position.stage]
        if position.index < subnet.depths[position.stage]:
            se = f"_se{_SE_RATIO}" if stage.se else ""
            block = f"ir_r1_k{kernel}_s{space.stride(position)}_e{expand}_c{stage.width}{se}_n{_ACTS[stage.act]}"
            blocks[1 + position.stage].append(block)
    return {
        "class": space.timm_class,
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
    """The timm model that ``describe`` described, freshly initialised."""
    model = MobileNetV3(**_arguments(description), drop_rate=drop_rate, drop_path_rate=drop_path_rate, device=device)
    model.conv_stem.stride = (description["stem_stride"],) * 2  # timm's own is always 2
    draw_classifier(model)
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


def make_elastic(model: MobileNetV3, space: Space) -> None:
    """Replaces the classes of the elastic leaves of the largest model of ``space``, in place."""
    for stage in model.blocks[1:-1]:
        make_stage_elastic(stage)
    for position, block in elastic_blocks(model, space):
        make_depthwise_elastic(block.conv_dw, space.stages[position.stage].kernels)
        for conv in (block.conv_pw, block.conv_pwl):
            make_conv_elastic(conv)
        for norm in (block.bn1, block.bn2):
            make_batch_norm_elastic(norm)
        if space.stages[position.stage].se:
            make_conv_elastic(block.se.conv_reduce)
            make_conv_elastic(block.se.conv_expand)


def activate(model: MobileNetV3, space: Space, subnet: Subnet) -> None:
    """Makes an elastic model run as ``subnet``."""
    for stage, depth in zip(model.blocks[1:-1], subnet.depths, strict=True):
        stage.active_depth = depth
    for (position, block), kernel, expand in zip(
        elastic_blocks(model, space), subnet.kernels, subnet.expands, strict=True
    ):
        channels = mid_channels(position.in_channels, expand)
        block.conv_pw.active_out = channels
        block.conv_dw.active_kernel = kernel
        if space.stages[position.stage].se:
            block.se.conv_reduce.active_out = round_channels(channels * _SE_RATIO)
            block.se.conv_expand.active_out = channels


def elastic_blocks(model: MobileNetV3, space: Space) -> Iterator[tuple[BlockPosition, InvertedResidual]]:
    """The blocks of the largest model of ``space``, each with its module."""
    for position in space.blocks:
        yield position, model.blocks[1 + position.stage][position.index]


def channel_groups(model: MobileNetV3, space: Space) -> Iterator[ChannelGroup]:
    """What expand ratios choose among: each block's middle channels and, with squeeze-excite, its squeezed ones."""
    for position, block in elastic_blocks(model, space):
        stage, (widths, squeezed) = space.stages[position.stage], _middle_widths(space, position)
        writers, readers = [block.conv_pw, block.bn1, block.conv_dw, block.bn2], [block.conv_pwl]
        if stage.se:
            writers.append(block.se.conv_expand)
            readers.append(block.se.conv_reduce)
        yield ChannelGroup(["expand"], writers, readers, widths)
        if stage.se:
            yield ChannelGroup(["expand"], [block.se.conv_reduce], [block.se.conv_expand], squeezed)


def _middle_widths(space: Space, position: BlockPosition) -> tuple[list[int], list[int]]:
    """A block's middle channels for each of its expand ratios, and its squeezed ones."""
    ratios = space.stages[position.stage].expands
    widths = [mid_channels(position.in_channels, ratio) for ratio in ratios]
    return widths, [round_channels(width * _SE_RATIO) for width in widths]


def mixing_plan(model: MobileNetV3, space: Space) -> MixingPlan:
    """Which genes weight which layer: expand ratios what reads the middle of a block, kernels, and depths of stages."""
    widths, reads, kernels = {}, {}, {}
    genes = zip(space.blocks, space.genes_of("kernel").tolist(), space.genes_of("expand").tolist(), strict=True)
    for position, kernel, expand in genes:
        stage, block = space.stages[position.stage], f"blocks.{1 + position.stage}.{position.index}"
        middle, squeezed = (Width((expand,), np.array(sizes)) for sizes in _middle_widths(space, position))
        kernels[f"{block}.conv_dw"] = Kernels(kernel, stage.kernels)
        widths[block] = middle
        reads[f"{block}.conv_pwl"] = block
        if stage.se:
            widths[f"{block}.se"] = squeezed
            reads |= {f"{block}.se.conv_reduce": block, f"{block}.se.conv_expand": f"{block}.se"}
    depths = {
        f"blocks.{1 + number}": Depths(column, space.stages[number].depths)
        for number, column in enumerate(space.genes_of("depth").tolist())
    }
    return MixingPlan(widths=widths, reads=reads, kernels=kernels, depths=depths)


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
