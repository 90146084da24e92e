"""Phases of training, as data: which options are open, for how long, at which learning rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.supernet.space import SearchSpace


@dataclass(frozen=True)
class Phase:
    """One phase.

    ``kernel``, ``depth`` and ``expand`` say how many options of each choice are open, counted from the largest: 1 is
    the largest alone. Gradients are averaged over ``subnets`` networks a step. ``lr`` is the peak of a cosine.
    ``sort_channels`` reorders channels by importance before the phase begins.
    """

    name: str
    epochs: int
    lr: float
    subnets: int = 1
    kernel: int = 1
    depth: int = 1
    expand: int = 1
    sort_channels: bool = False


# The published schedule (https://arxiv.org/abs/1908.09791, section 4.1), per 180 epochs of the full network at learning
# rate 2.6. It sums gradients over the sampled subnets; here they are averaged, hence the factor.
_KERNEL = {"epochs": 120 / 180, "lr": 0.96 / 2.6}
_FIRST_STEP = {"epochs": 25 / 180, "lr": 0.08 / 2.6}
_LAST_STEP = {"epochs": 120 / 180, "lr": 0.24 / 2.6}
_DEPTH_SUBNETS, _EXPAND_SUBNETS = 2, 4


def progressive_shrinking(space: SearchSpace, *, epochs: int, lr: float) -> tuple[Phase, ...]:
    """The published schedule for any space: full network, then kernel, depth and expand ratio, one option at a time.

    Args:
        epochs: of the full network; the other phases keep the published ratio to it (at least one epoch each).
        lr: of the full network; likewise.
    """
    kernels, depths, expands = (
        max(len(getattr(stage, name)) for stage in space.stages) for name in ("kernels", "depths", "expands")
    )
    phases = [Phase("full", epochs, lr)]

    def add(name: str, ratio: dict[str, float], subnets: int, **opened: int | bool) -> None:
        phases.append(
            Phase(name, max(1, round(epochs * ratio["epochs"])), lr * ratio["lr"] * subnets, subnets, **opened)
        )

    if kernels > 1:
        add("kernel", _KERNEL, 1, kernel=kernels)
    for depth in range(2, depths + 1):
        ratio = _LAST_STEP if depth == depths else _FIRST_STEP
        add(f"depth-{depth}", ratio, _DEPTH_SUBNETS, kernel=kernels, depth=depth)
    for expand in range(2, expands + 1):
        ratio = _LAST_STEP if expand == expands else _FIRST_STEP
        opened = {"kernel": kernels, "depth": depths, "expand": expand, "sort_channels": True}
        add(f"expand-{expand}", ratio, _EXPAND_SUBNETS, **opened)
    return tuple(phases)


def lowest_options(space: SearchSpace, phase: Phase) -> np.ndarray:
    """The smallest option index that each gene may take in ``phase`` ``(genes,)``; resolutions are always all open."""
    lowest = np.zeros(space.genes, int)
    for genes, opened in (
        (space.depth_genes, phase.depth),
        (space.kernel_genes, phase.kernel),
        (space.expand_genes, phase.expand),
    ):
        lowest[genes] = np.maximum(space.option_counts[genes] - opened, 0)
    return lowest
