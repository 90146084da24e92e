"""Which subnets a training step runs: a function of (seed, step), never of global state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.training.phases import Phase, lowest_options


def uniform(space: SearchSpace, phase: Phase, *, seed: int, step: int) -> list[Subnet]:
    """``phase.subnets`` networks, each open option equally likely, all at one resolution (a batch has one size)."""
    rng = np.random.default_rng([seed, step])
    codes = space.sample(phase.subnets, rng, lowest=lowest_options(space, phase))
    subnets = [space.decode(code) for code in codes]
    return [replace(subnet, resolution=subnets[0].resolution) for subnet in subnets]
