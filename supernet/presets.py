"""The published search spaces, as data."""

from typing import Any

_TINY_OPTIONS: dict[str, Any] = {"depths": [1, 2], "kernels": [3, 5, 7], "expands": [2, 3, 4]}


def _ofa_mbv3(*, stem: int, widths: list[int], head: int, features: int) -> dict[str, Any]:
    """OFA's MobileNetV3 space at one width multiplier (https://arxiv.org/abs/1908.09791, section 4)."""
    strides, acts = [2, 2, 2, 1, 2], ["relu", "relu"] + ["hard_swish"] * 3
    excites = [False, True, False, True, True]
    return {
        "family": "mobilenetv3",
        "resolutions": list(range(128, 225, 4)),
        "stem": {"width": stem, "first_width": stem},
        "stages": [
            {"width": width, "stride": stride, "act": act, "se": se}
            for width, stride, act, se in zip(widths, strides, acts, excites, strict=True)
        ],
        "head": {"width": head, "features": features},
    }


PRESETS: dict[str, dict[str, Any]] = {
    "ofa_mbv3": _ofa_mbv3(stem=16, widths=[24, 40, 80, 112, 160], head=960, features=1280),
    "ofa_mbv3_w1.2": _ofa_mbv3(stem=24, widths=[32, 48, 96, 136, 192], head=1152, features=1536),
    # For images of 16 to 32 pixels: the same blocks in three stages, a quarter of the downsampling.
    "tiny_mbv3": {
        "family": "mobilenetv3",
        "resolutions": [16, 20, 24, 28, 32],
        "stem": {"width": 16, "first_width": 16, "stride": 2},
        "stages": [
            {"width": 16, "stride": 1, "act": "relu", **_TINY_OPTIONS},
            {"width": 24, "stride": 2, "act": "hard_swish", "se": True, **_TINY_OPTIONS},
            {"width": 40, "stride": 2, "act": "hard_swish", "se": True, **_TINY_OPTIONS},
        ],
        "head": {"width": 160, "features": 192},
    },
}
