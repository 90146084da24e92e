"""Published spaces of MobileNetV3, as data."""

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


def _mcu(
    *, resolutions: list[int], stem: int, first: int, stages: list[tuple[int, int, int]], head: int, features: int
) -> dict[str, Any]:
    """Blocks of convolutions, ReLU6 and additions alone, as int8 kernels for microcontrollers have them.

    Without squeeze-and-excite and hard-swish they are those of MobileNetV2 (https://arxiv.org/abs/1801.04381).
    ``stages`` holds (width, stride, largest depth).
    """
    return {
        "family": "mobilenetv3",
        "resolutions": resolutions,
        "stem": {"width": stem, "first_width": first, "first_act": "relu6"},
        "stages": [
            {
                "width": width,
                "stride": stride,
                "act": "relu6",
                "depths": list(range(1, depth + 1)),
                "expands": [2, 4, 6],
            }
            for width, stride, depth in stages
        ],
        "head": {"width": head, "features": features},
        "act": "relu6",
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
    # For microcontrollers: up to about the size of MobileNetV2-0.35.
    "mcu": _mcu(
        resolutions=list(range(48, 161, 16)),
        stem=16,
        first=8,
        stages=[(8, 2, 2), (16, 2, 3), (24, 2, 3), (32, 1, 2), (56, 2, 3)],
        head=224,
        features=256,
    ),
    # For images of 24 to 32 pixels on microcontrollers: inverted residuals. Blocks of mcu_32 need less RAM.
    "mcu_32_ir": _mcu(
        resolutions=[24, 28, 32],
        stem=8,
        first=4,
        stages=[(8, 1, 2), (16, 2, 3), (24, 2, 3), (40, 1, 2)],
        head=96,
        features=96,
    ),
}
