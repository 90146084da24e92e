"""One space."""

PRESETS = {"wide_small": {"family": "wide", "resolutions": [12, 16, 24]}}
