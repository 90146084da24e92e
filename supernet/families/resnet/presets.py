"""Published spaces of this family, as data."""

from typing import Any


def _ofa_resnet50() -> dict[str, Any]:
    """OFA's ResNet-50 space, as its published code has it (https://github.com/mit-han-lab/once-for-all).

    Depth, the ratio of each block's middle to its stage's width, and the widths of stem and stages are elastic. The
    first stage is the stem's residual convolution, the second the rest of the stem. Of the three published widths of
    the stem's first channels two are equal, so there are two. The supernet has 48,105,992 parameters; with 10 classes
    its largest network has 46,077,482 and its smallest 5,223,570.
    """
    widths, blocks_of_stage = [256, 512, 1024, 2048], [4, 4, 6, 4]
    stages: list[dict[str, Any]] = [{"depths": depths, "blocks": [{"in_channels": 32}]} for depths in ([0, 1], [1])]
    before = 64
    for width, depth in zip(widths, blocks_of_stage, strict=True):
        inputs = [before, *[width] * (depth - 1)]
        blocks = [{"in_channels": read, "expands": [0.2, 0.25, 0.35]} for read in inputs]
        stages.append({"depths": list(range(depth - 2, depth + 1)), "blocks": blocks})
        before = width
    return {
        "family": "resnet",
        "resolutions": list(range(128, 225, 4)),
        "timm": "timm.models.ResNet",
        "arguments": {
            "block": "Bottleneck",
            "layers": blocks_of_stage,
            "stem_width": 32,
            "stem_type": "deep",
            "avg_down": True,
            "base_width": 90,  # middles of 0.35 are narrower than these by up to 2 channels
            "residual_convs": {"conv1": 3},
        },
        "stages": stages,
        "widths": {
            "0": [24, 32],
            "1": [40, 48, 64],
            "2": [168, 208, 256],
            "3": [336, 408, 512],
            "4": [664, 816, 1024],
            "5": [1328, 1640, 2048],
        },
        "expand_of": "out",
    }


PRESETS: dict[str, dict[str, Any]] = {"ofa_resnet50": _ofa_resnet50()}
