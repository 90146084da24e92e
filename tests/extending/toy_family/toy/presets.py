"""One space."""

PRESETS = {"toy_small": {"family": "toy", "resolutions": [8, 12]}}
