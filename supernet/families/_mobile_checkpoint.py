"""How published OFA checkpoints name the layers of MobileNets (https://arxiv.org/abs/1908.09791)."""

from __future__ import annotations

from collections.abc import Iterable

# A block's layers: the checkpoint's name, and timm's.
_SEPARABLE = {
    "depth_conv.conv": "conv_dw",
    "depth_conv.bn": "bn1",
    "point_linear.conv": "conv_pw",
    "point_linear.bn": "bn2",
}
_INVERTED = {
    "inverted_bottleneck.conv": "conv_pw",
    "inverted_bottleneck.bn": "bn1",
    "depth_conv.conv": "conv_dw",
    "depth_conv.bn": "bn2",
    "point_linear.conv": "conv_pwl",
    "point_linear.bn": "bn3",
}
_SQUEEZE_EXCITE = {"depth_conv.se.fc.reduce": "se.conv_reduce", "depth_conv.se.fc.expand": "se.conv_expand"}


def mobile_layers(blocks: Iterable[tuple[str, bool]]) -> dict[str, str]:
    """Layers of the stem and of ``blocks``: each inverted residual's name in timm, and if it has squeeze-and-excite."""
    names = {"first_conv.conv": "conv_stem", "first_conv.bn": "bn1"}
    names |= {f"blocks.0.conv.{theirs}": f"blocks.0.0.{own}" for theirs, own in _SEPARABLE.items()}
    for number, (own_block, squeezes) in enumerate(blocks, start=1):
        inside = _INVERTED | (_SQUEEZE_EXCITE if squeezes else {})
        names |= {f"blocks.{number}.conv.{theirs}": f"{own_block}.{own}" for theirs, own in inside.items()}
    return names
