"""Published spaces of this family, as data."""

from typing import Any

_KERNELS = [3, 5, 7]


def _inverted_residuals(
    stages: list[tuple[int, int, list[int]]], *, in_channels: int, expands: list[int], **options: Any
) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """Blocks as timm's strings, and as stages of a space, of (width, stride, depths) each."""
    strings, spaces = [], []
    for width, stride, depths in stages:
        strings.append([f"ir_r{depths[-1]}_k{_KERNELS[-1]}_s{stride}_e{expands[-1]}_c{width}"])
        inputs = [in_channels, *[width] * (depths[-1] - 1)]
        blocks = [{"in_channels": read, "kernels": {"conv_dw": _KERNELS}, "expands": expands} for read in inputs]
        spaces.append({"depths": depths, "blocks": blocks})
        in_channels = width
    return strings, spaces


def _ofa_proxyless() -> dict[str, Any]:
    """OFA's ProxylessNAS space at width 1.3 (https://arxiv.org/abs/1908.09791, section 4, and its published code).

    The supernet has 7,956,882 parameters, kernel matrices included.
    """
    widths, strides = [32, 56, 104, 128, 248], [2, 2, 2, 1, 2]
    stages = [(width, stride, [2, 3, 4]) for width, stride in zip(widths, strides, strict=True)]
    strings, spaces = _inverted_residuals([*stages, (416, 1, [1])], in_channels=24, expands=[3, 4, 6])
    return {
        "family": "efficientnet",
        "resolutions": list(range(128, 225, 4)),
        "timm": "timm.models.EfficientNet",
        "arguments": {
            "block_args": [["ds_r1_k3_s1_c24"], *strings],
            "stem_size": 40,
            "fix_stem": True,
            "num_features": 1664,
            "round_chs_fn": "int",
            "act_layer": "relu6",
            "norm_layer": {"name": "batchnorm2d", "eps": 1e-3},
        },
        "stages": [{"depths": [1], "blocks": [{"in_channels": 40}]}, *spaces],
        "expand_of": "in",
    }


PRESETS: dict[str, dict[str, Any]] = {"ofa_proxyless": _ofa_proxyless()}
