"""The published search spaces of all families, as data."""

from ofa.supernet import families

PRESETS = families.presets()
