"""Spaces for microcontrollers, as data: depthwise separable blocks without expansion, and maps as small as it takes.

RAM is what such a device has least of. Networks made by hand for it ("Hello Edge", https://arxiv.org/abs/1711.07128)
have a large first convolution of stride 2, and blocks of a depthwise and a 1x1 convolution whose maps are all there is
in memory. They are points of these spaces. An expansion would add a map of several times the channels, and a depthwise
kernel of 7x7 needs more scratch memory than both maps of its block.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class _Stage(NamedTuple):
    """Blocks without expansion and addition, with ReLU6; the first may halve the map."""

    widths: list[int]
    strides: list[int]  # descending
    depths: list[int]
    kernels: list[int]

    def choices(self, in_channels: int) -> dict[str, Any]:
        kernels = {"conv_dw": self.kernels}
        first = {"in_channels": in_channels, "kernels": kernels, "strides": {"conv_dw": self.strides}}
        others = [{"in_channels": self.widths[-1], "kernels": kernels}] * (self.depths[-1] - 1)
        return {"depths": self.depths, "blocks": [first, *others]}


def _space(
    stages: list[_Stage], *, resolutions: list[int], stem: list[int], stem_kernels: list[int], act: str = "relu6"
) -> dict[str, Any]:
    """Blocks named ``dsa`` by timm: MobileNet's (https://arxiv.org/abs/1704.04861). The classifier follows the last."""
    inputs = [stem[-1], *(stage.widths[-1] for stage in stages)]
    return {
        "family": "efficientnet",
        "resolutions": resolutions,
        "timm": "timm.models.EfficientNet",
        "arguments": {
            "block_args": [
                [f"dsa_r{stage.depths[-1]}_k{stage.kernels[-1]}_s{stage.strides[-1]}_c{stage.widths[-1]}"]
                for stage in stages
            ],
            "stem_size": stem[-1],
            "stem_kernel_size": stem_kernels[-1],
            "fix_stem": True,
            "num_features": 0,
            "round_chs_fn": "int",
            "act_layer": act,
        },
        "stages": [stage.choices(read) for stage, read in zip(stages, inputs, strict=False)],
        "widths": {"stem": stem, **{str(number): stage.widths for number, stage in enumerate(stages)}},
        "stem": {"kernels": {"conv_stem": stem_kernels}},
        "stages_of_one_width": True,
    }


_WIDTHS = [12, 28, 40, 48, 80, 120, 160]

PRESETS: dict[str, dict[str, Any]] = {
    # For images and spectrograms of 24 to 32 pixels on microcontrollers with some tens of KB.
    "mcu_32": _space(
        [_Stage(_WIDTHS, [2, 1], [1, 2], [3, 5])] * 3,
        resolutions=[24, 28, 32],
        stem=[8, 12, 16, 28, 40, 80, 120],
        stem_kernels=[3, 5, 7],
    ),
}
