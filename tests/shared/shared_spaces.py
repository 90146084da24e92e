"""Search spaces that many tests use. A new family is tested by its presets alone; one line here adds an odd space."""

import pytest

from ofa.supernet import families
from ofa.supernet.space import SearchSpace

# Trains in seconds, and has every kind of choice.
SMALL = SearchSpace.from_dict(
    {
        "resolutions": [8, 12],
        "stem": {"width": 8, "first_width": 8},
        "stages": [
            {"width": 8, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3]},
            {"width": 16, "stride": 2, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4], "se": True},
        ],
        "head": {"width": 32, "features": 32},
    }
)
# Everything that no preset has: other kernels, a ratio of 1 and a fraction, other activations, choices of one option.
ODD = SearchSpace.from_dict(
    {
        "resolutions": [17, 24],
        "stem": {"width": 8, "first_width": 12, "stride": 1, "first_act": "swish"},
        "stages": [
            {"width": 12, "stride": 2, "depths": [1, 3], "kernels": [1, 3, 5], "expands": [1, 2.5], "act": "relu6"},
            {"width": 20, "stride": 1, "depths": [2], "kernels": [3, 7], "expands": [2], "act": "swish", "se": True},
            {"width": 20, "stride": 2, "depths": [1, 2], "kernels": [9], "expands": [2, 6], "se": True},
        ],
        "head": {"width": 24, "features": 32},
        "act": "relu",
    }
)
# Kinds of a block: settings that are chosen together.
SETTINGS = {
    "k3e1": {"kernels": {"conv_dw": 3}, "expand": 1},
    "k5e1": {"kernels": {"conv_dw": 5}, "expand": 1},
    "k3e3": {"kernels": {"conv_dw": 3}, "expand": 3},
    "k5e3": {"kernels": {"conv_dw": 5}, "expand": 3},
}
# As FBNet has them, beside independent choices, elastic widths, and blocks of other shapes that stand in their places:
# one with a residual connection, a squeeze-and-excite and middle channels of its own among them.
MIXED = {
    "family": "efficientnet",
    "resolutions": [15, 24],
    "timm": "timm.models.EfficientNet",
    "arguments": {
        "block_args": [["ir_r1_k5_s2_e3_c16_noskip", "ir_r1_k5_s1_e3_c16"], ["ir_r2_k5_s2_e4_c24"]],
        "stem_size": 16,
        "fix_stem": True,
        "num_features": 32,
        "round_chs_fn": "int",
        "act_layer": "relu6",
    },
    "stages": [
        {
            "depths": [1, 2],
            "blocks": [
                {"in_channels": 16, "kinds": {"conv": {"block": "cn_r1_k1_s2_c16"}, **SETTINGS}},
                {
                    "in_channels": 16,
                    "kinds": {
                        **dict(list(SETTINGS.items())[:2]),
                        "squeezed": {"block": "ir_r1_k3_s1_e2_c16_se0.25"},
                        "separable": {"block": "ds_r1_k3_s1_c16"},
                        "k5e3": SETTINGS["k5e3"],
                    },
                },
            ],
        },
        {
            "depths": [1, 2],
            "blocks": [
                {"in_channels": 16, "kernels": {"conv_dw": [3, 5]}, "expands": [2, 4]},
                {"in_channels": 24, "kinds": {"small": {"expand": 2}, "large": {"expand": 4}}},
            ],
        },
    ],
    "widths": {"stem": [8, 16], "0": [8, 16], "1": [16, 24]},
    "expand_of": "in",
}
# Presets whose layout is written by hand, as the oracles of their costs are.
BY_HAND = [name for name, values in families.presets().items() if values["family"] == families.DEFAULT]
# Presets for tests that build networks: those left out are large, and of a kind that others are of.
BUILT = [name for name in families.presets() if name not in ("ofa_proxyless", "bignas", "attentivenas")]
SPACES = {**{name: SearchSpace.preset(name) for name in BUILT}, "odd": ODD}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
by_hand_space = pytest.mark.parametrize("space", [*map(SearchSpace.preset, BY_HAND), ODD], ids=[*BY_HAND, "odd"])
