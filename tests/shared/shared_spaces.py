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
# Presets whose layout is written by hand, as the oracles of their costs are.
BY_HAND = [name for name, values in families.presets().items() if values["family"] == families.DEFAULT]
# Presets for tests that build networks: those left out are large, and of a kind that others are of.
BUILT = [name for name in families.presets() if name not in ("ofa_proxyless", "bignas", "attentivenas")]
SPACES = {**{name: SearchSpace.preset(name) for name in BUILT}, "odd": ODD}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
by_hand_space = pytest.mark.parametrize("space", [*map(SearchSpace.preset, BY_HAND), ODD], ids=[*BY_HAND, "odd"])
