"""NAS-Bench-Macro's space, as data, and its architectures as the published table of 6,561 names them.

"Prioritized Architecture Sampling with Monto-Carlo Tree Search" (https://arxiv.org/abs/2103.11922), section 4 and its
published table: eight layers in three stages, each a MobileNetV2 block of ratio 3 and kernel 3, one of ratio 6 and
kernel 5, or the identity, for CIFAR-10. The identity of a stage's first layer, which halves the map, is a 1x1
convolution; of other layers it is no layer at all. So 3,969 of the 6,561 architectures are different networks.

Parameters and multiply-accumulates of every network are the published ones. timm's 1x1 convolution has the network's
activation function after its norm, which costs nothing that is counted.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

from ofa.supernet.space import Subnet

_LENGTHS, _WIDTHS, _STEM, _HEAD, _RESOLUTION = (2, 3, 3), (64, 128, 256), 32, 1280, 32
# Of the digits 0, 1 and 2 of an architecture.
_KINDS = ("id", "k3e3", "k5e6")


def _stage(length: int, width: int, before: int) -> dict[str, Any]:
    kinds = {
        _KINDS[0]: {"block": f"cn_r1_k1_s2_c{width}"},
        _KINDS[1]: {"kernels": {"conv_dw": 3}, "expand": 3},
        _KINDS[2]: {"kernels": {"conv_dw": 5}, "expand": 6},
    }
    later = {name: kinds[name] for name in _KINDS[1:]}
    blocks = [{"in_channels": before, "kinds": kinds}, *[{"in_channels": width, "kinds": later}] * (length - 1)]
    return {"depths": list(range(1, length + 1)), "blocks": blocks}


VALUES: dict[str, Any] = {
    "family": "efficientnet",
    "resolutions": [_RESOLUTION],
    "timm": "timm.models.EfficientNet",
    "arguments": {
        "block_args": [[f"ir_r{length}_k5_s2_e6_c{width}"] for length, width in zip(_LENGTHS, _WIDTHS, strict=True)],
        "stem_size": _STEM,
        "fix_stem": True,
        "strides": {"conv_stem": 1},
        "num_features": _HEAD,
        "round_chs_fn": "int",
        "act_layer": "relu6",
    },
    "stages": [
        _stage(length, width, before)
        for length, width, before in zip(_LENGTHS, _WIDTHS, (_STEM, *_WIDTHS), strict=False)
    ],
    "widths": {},
    "expand_of": "in",
}


def subnet_of(architecture: str) -> Subnet:
    """The network of eight digits, such as ``"02110021"``: of each layer 0 (identity), 1 (ratio 3) or 2 (ratio 6).

    Raises ``ValueError`` for another text.
    """
    if len(architecture) != sum(_LENGTHS) or set(architecture) - set("012"):
        raise ValueError(f"architecture {architecture!r}: give {sum(_LENGTHS)} digits, each 0, 1 or 2")
    depths, kinds, start = [], [], 0
    for length in _LENGTHS:
        first, *later = map(int, architecture[start : start + length])
        running = [_KINDS[digit] for digit in (first, *filter(None, later))]
        depths.append(len(running))
        kinds += running + [_KINDS[1]] * (length - len(running))  # blocks that do not run have their first kind
        start += length
    return Subnet(_RESOLUTION, tuple(depths), kinds=tuple(kinds))


def architectures_of(subnet: Subnet) -> tuple[str, ...]:
    """All architectures of the table that are this network, ascending: identities may be before or after other layers.

    Each was trained for itself, so the table has several accuracies of one network.
    """
    stages, start = [], 0
    for length, depth in zip(_LENGTHS, subnet.depths, strict=True):
        first, *later = (str(_KINDS.index(kind)) for kind in subnet.kinds[start : start + depth])
        stages.append([first + text for text in _with_identities(later, length - 1)])
        start += length
    return tuple(sorted("".join(texts) for texts in product(*stages)))


def _with_identities(digits: list[str], length: int) -> list[str]:
    """Each text of ``length`` digits that has ``digits`` in their order, and zeros between them."""
    texts = []
    for places in combinations(range(length), len(digits)):
        placed = dict(zip(places, digits, strict=True))
        texts.append("".join(placed.get(place, "0") for place in range(length)))
    return texts
