"""Cortex-M55 under qemu-system-arm: ``cortex_m`` for this processor."""

from __future__ import annotations

from functools import partial

from ofa.export.runtimes import cortex_m
from ofa.export.runtimes.cortex_m import convert_int8, figures, operators, run

NAME = "cortex_m55"
load = partial(cortex_m.load, cpu=NAME)
environment = partial(cortex_m.environment, cpu=NAME)

__all__ = ["NAME", "convert_int8", "environment", "figures", "load", "operators", "run"]
