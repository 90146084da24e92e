"""Where timm's VisionTransformer is cut, and which sizes of images it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ofa.supernet.derived.cut import Cut
from ofa.supernet.families.vit.head import DistilledHead, Pool, distilled_head, pool
from ofa.supernet.families.vit.hybrid import Backbone, Patches, backbone
from ofa.supernet.families.vit.tokens import Tokens, tokens


def cut(model: nn.Module) -> Cut:
    """All blocks are one stage. The embedding of patches, tokens and positions is the stem."""
    embed = [model.patch_embed]
    if hasattr(model.patch_embed, "backbone"):
        embed = [Backbone(model.patch_embed.backbone), Patches(model.patch_embed)]
    stem = nn.Sequential(*embed, Tokens(model), model.patch_drop, model.norm_pre)
    if hasattr(model, "head_dist"):
        head = nn.Sequential(model.norm, DistilledHead(model))
    else:
        head = nn.Sequential(model.norm, Pool(model), model.fc_norm, model.head_drop, model.head)
    handlers = {Backbone: backbone, Tokens: tokens, Pool: pool, DistilledHead: distilled_head}
    return Cut(stem, [list(model.blocks)], head, ["blocks"], handlers)


def resolutions_of(model: nn.Module) -> tuple[int, ...]:
    """The model's own size of images and up to three smaller ones, whole numbers of patches.

    A model whose own size is none leaves out the rest of an image, and takes that size alone.
    """
    own, patch = model.patch_embed.img_size[0], model.patch_embed.feat_ratio()
    if own % patch:
        return (own,)
    step = patch * max(1, own // patch // 7)
    return tuple(size for size in range(own - 3 * step, own + 1, step) if size >= own // 2)


def arguments_for(model: nn.Module, resolutions: Sequence[int]) -> dict[str, Any]:
    """What lets timm's model take other sizes of images than its own: it resamples its position embedding then.

    Raises ``ValueError`` for a size that is no whole number of patches.
    """
    own, patch = model.patch_embed.img_size[0], model.patch_embed.feat_ratio()
    if list(resolutions) == [own]:
        return {}
    if odd := [size for size in resolutions if size % patch]:
        raise ValueError(f"resolutions {odd}: this model's patches have {patch} px, so give multiples of {patch}")
    return {"dynamic_img_size": True}
