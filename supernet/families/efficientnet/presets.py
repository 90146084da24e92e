"""Published spaces of this family, as data. None of them is read off a plain model's own sizes."""

from typing import Any, NamedTuple

from ofa.supernet.families.efficientnet import nasbench_macro
from ofa.supernet.families.efficientnet.mcu_presets import PRESETS as MCU


class _Stage(NamedTuple):
    """Blocks of a depthwise separable convolution; the last options are those of the largest network."""

    widths: list[int]
    stride: int
    depths: list[int]
    kernels: list[int]
    expands: list[int]  # [1]: blocks without an expansion
    squeezes: bool = False

    def strings(self, *, has_first_skip: bool) -> list[str]:
        """As timm's builder reads them."""
        kind, ratio = ("ds", "") if self.expands == [1] else ("ir", f"_e{self.expands[-1]}")
        squeeze = "_se0.25" if self.squeezes else ""

        def blocks(count: int, stride: int) -> str:
            return f"{kind}_r{count}_k{self.kernels[-1]}_s{stride}{ratio}_c{self.widths[-1]}{squeeze}"

        if has_first_skip or self.stride > 1:
            return [blocks(self.depths[-1], self.stride)]
        return [f"{blocks(1, 1)}_noskip", *([blocks(self.depths[-1] - 1, 1)] if self.depths[-1] > 1 else [])]

    def choices(self, in_channels: int) -> dict[str, Any]:
        """As a stage of a space."""
        expands = {} if self.expands == [1] else {"expands": self.expands}
        kernels = {"kernels": {"conv_dw": self.kernels}} if len(self.kernels) > 1 else {}
        inputs = [in_channels, *[self.widths[-1]] * (self.depths[-1] - 1)]
        return {"depths": self.depths, "blocks": [{"in_channels": read, **kernels, **expands} for read in inputs]}


def _space(
    stages: list[_Stage], *, stem: list[int], head: list[int], resolutions: list[int], act: str, **arguments: Any
) -> dict[str, Any]:
    """A space of timm's EfficientNet; ``stem`` and ``head`` are widths, ratios are of a block's input."""
    inputs = [stem, *(stage.widths for stage in stages)]
    widths = {"stem": stem, **{str(number): stage.widths for number, stage in enumerate(stages)}, "head": head}
    return {
        "family": "efficientnet",
        "resolutions": resolutions,
        "timm": "timm.models.EfficientNet",
        "arguments": {
            # A block whose input and output are chosen apart cannot add one to the other.
            "block_args": [
                stage.strings(has_first_skip=len(before) == len(stage.widths) == 1)
                for before, stage in zip(inputs[:-1], stages, strict=True)
            ],
            "stem_size": stem[-1],
            "fix_stem": True,
            "num_features": head[-1],
            "round_chs_fn": "int",
            "act_layer": act,
            **arguments,
        },
        "stages": [stage.choices(before[-1]) for before, stage in zip(inputs[:-1], stages, strict=True)],
        "widths": {name: options for name, options in widths.items() if len(options) > 1},
        "expand_of": "in",
    }


def _ofa_proxyless() -> dict[str, Any]:
    """OFA's ProxylessNAS space at width 1.3 (https://arxiv.org/abs/1908.09791, section 4, and its published code).

    The supernet has 7,956,882 parameters, kernel matrices included.
    """
    widths, strides = [32, 56, 104, 128, 248], [2, 2, 2, 1, 2]
    stages = [_Stage([24], 1, [1], [3], [1])]
    stages += [_Stage([w], stride, [2, 3, 4], [3, 5, 7], [3, 4, 6]) for w, stride in zip(widths, strides, strict=True)]
    stages.append(_Stage([416], 1, [1], [3, 5, 7], [3, 4, 6]))
    return _space(
        stages,
        stem=[40],
        head=[1664],
        resolutions=list(range(128, 225, 4)),
        act="relu6",
        norm_layer={"name": "batchnorm2d", "eps": 1e-3},
    )


def _bignas() -> dict[str, Any]:
    """BigNAS's space (https://arxiv.org/abs/2003.11142): stage widths, depths and kernels of a MobileNetV2.

    Each block has its own kernel. The numbers of its smallest and largest network were not found published.
    """
    return _space(
        [
            _Stage([16, 24], 1, [1, 2], [3], [1], True),
            _Stage([24, 32], 2, [2, 3], [3], [6], True),
            _Stage([40, 48], 2, [2, 3], [3, 5], [6], True),
            _Stage([80, 88], 2, [2, 3, 4], [3, 5], [6], True),
            _Stage([112, 120, 128], 1, [2, 3, 4, 5, 6], [3, 5], [6], True),
            _Stage([192, 200, 208, 216], 2, [2, 3, 4, 5, 6], [3, 5], [6], True),
            _Stage([320, 328, 336, 344, 352], 1, [1, 2], [3, 5], [6], True),
        ],
        stem=[32, 40],
        head=[1280, 1408],
        resolutions=[192, 224, 288, 320],
        act="swish",
    )


def _attentivenas() -> dict[str, Any]:
    """AttentiveNAS's space (https://arxiv.org/abs/2011.09011), but for two things.

    Each block has its own kernel and ratio, where the paper has one of a stage; and the convolution before the pool is
    timm's, of the paper's last widths. The numbers of its smallest and largest network were not found published.
    """
    return _space(
        [
            _Stage([16, 24], 1, [1, 2], [3, 5], [1]),
            _Stage([24, 32], 2, [3, 4, 5], [3, 5], [4, 5, 6]),
            _Stage([32, 40], 2, [3, 4, 5, 6], [3, 5], [4, 5, 6], True),
            _Stage([64, 72], 2, [3, 4, 5, 6], [3, 5], [4, 5, 6]),
            _Stage([112, 120, 128], 1, [3, 4, 5, 6, 7, 8], [3, 5], [4, 5, 6], True),
            _Stage([192, 200, 208, 216], 2, [3, 4, 5, 6, 7, 8], [3, 5], [6], True),
            _Stage([216, 224], 1, [1, 2], [3, 5], [6], True),
        ],
        stem=[16, 24],
        head=[1792, 1984],
        resolutions=[192, 224, 256, 288],
        act="swish",
    )


def _mcunet() -> dict[str, Any]:
    """TinyNAS's space for microcontrollers (https://arxiv.org/abs/2007.10319, section 3.1) at half the width.

    The paper has one space for each of twelve resolutions, which are together here, and each of nine widths. The
    convolution before the pool is timm's.
    """
    widths, strides = [16, 24, 40, 48, 96], [2, 2, 2, 1, 2]
    stages = [_Stage([8], 1, [1], [3], [1])]
    stages += [_Stage([w], stride, [2, 3, 4], [3, 5, 7], [3, 4, 6]) for w, stride in zip(widths, strides, strict=True)]
    stages.append(_Stage([160], 1, [1], [3, 5, 7], [3, 4, 6]))
    return _space(stages, stem=[16], head=[320], resolutions=list(range(48, 225, 16)), act="relu6")


PRESETS: dict[str, dict[str, Any]] = {
    "ofa_proxyless": _ofa_proxyless(),
    "bignas": _bignas(),
    "attentivenas": _attentivenas(),
    "mcunet": _mcunet(),
    "nasbench_macro": nasbench_macro.VALUES,
    **MCU,
}
