"""Which networks a training step runs.

A sampling gives codes ``(phase.subnets, genes)``, int8 and canonical, drawn from ``rng`` and nothing else. Every row
has the same ``resolution`` (the index of that gene), because a batch has one size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ofa.supernet.space import DTYPE, SearchSpace
from ofa.supernet.training.phases import Phase, lowest_options

_POOL = 256  # codes that attentive sampling chooses from: enough for three near every stratum
_CANDIDATES = 3  # BestUp-3 and WorstUp-3


@dataclass(frozen=True)
class Judge:
    """What a sampling may ask about codes ``(n, genes)``; only attentive sampling does.

    Attributes:
        macs: multiply-accumulates ``(n,)``.
        loss: lower is better ``(n,)``: on the step's mini-batch, or minus a predicted accuracy. Asked once a step.
    """

    macs: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[np.ndarray], np.ndarray]


Sampler = Callable[..., np.ndarray]


def uniform(space: SearchSpace, phase: Phase, *, rng: np.random.Generator, resolution: int, judge: Judge) -> np.ndarray:
    """Every open option equally likely."""
    return _sample(space, phase, phase.subnets, rng=rng, resolution=resolution)


def sandwich(
    space: SearchSpace, phase: Phase, *, rng: np.random.Generator, resolution: int, judge: Judge
) -> np.ndarray:
    """The largest network, the smallest that the phase opens, and uniform ones (BigNAS, arXiv:2003.11142)."""
    between = _sample(space, phase, phase.subnets - 2, rng=rng, resolution=resolution)
    return np.concatenate([_ends(space, phase, resolution=resolution), between])


def best_up(space: SearchSpace, phase: Phase, *, rng: np.random.Generator, resolution: int, judge: Judge) -> np.ndarray:
    """Largest, smallest, and the better ones of their size: of three near a drawn size, the lowest loss.

    Trains the front that search looks for (AttentiveNAS, arXiv:2011.09011). Sizes, in multiply-accumulates, are drawn
    uniformly between the least and the largest of a sampled pool: uniform codes alone bunch in the middle.
    """
    return _attentive(space, phase, rng=rng, resolution=resolution, judge=judge, choose=np.argmin)


def worst_up(
    space: SearchSpace, phase: Phase, *, rng: np.random.Generator, resolution: int, judge: Judge
) -> np.ndarray:
    """As ``best_up``, but the highest loss: trains the networks that lag behind others of their size."""
    return _attentive(space, phase, rng=rng, resolution=resolution, judge=judge, choose=np.argmax)


SAMPLERS: dict[str, Sampler] = {"uniform": uniform, "sandwich": sandwich, "best_up": best_up, "worst_up": worst_up}


def draw_resolution(space: SearchSpace, rng: np.random.Generator) -> int:
    """Index of the resolution gene, every resolution equally likely."""
    return int(rng.integers(len(space.resolutions)))


def _sample(space: SearchSpace, phase: Phase, n: int, *, rng: np.random.Generator, resolution: int) -> np.ndarray:
    codes = space.sample(n, rng, lowest=lowest_options(space, phase))
    codes[:, 0] = resolution
    return codes


def _ends(space: SearchSpace, phase: Phase, *, resolution: int) -> np.ndarray:
    """The largest and the smallest open network ``(2, genes)``."""
    ends = np.stack([space.option_counts - 1, lowest_options(space, phase)])
    ends[:, 0] = resolution
    return space.canonical(ends.astype(DTYPE))


def _attentive(
    space: SearchSpace,
    phase: Phase,
    *,
    rng: np.random.Generator,
    resolution: int,
    judge: Judge,
    choose: Callable[..., np.ndarray],
) -> np.ndarray:
    # Without repeats: three copies of one network would be no choice.
    pool = np.unique(_sample(space, phase, _POOL, rng=rng, resolution=resolution), axis=0)
    macs = judge.macs(pool)
    strata = rng.uniform(macs.min(), macs.max(), size=phase.subnets - 2)
    distances = np.abs(macs - strata[:, None])
    near = np.argsort(distances, axis=1, kind="stable")[:, :_CANDIDATES]
    losses = judge.loss(pool[near.ravel()]).reshape(near.shape)
    chosen = np.take_along_axis(near, choose(losses, axis=1)[:, None], axis=1)[:, 0]
    return np.concatenate([_ends(space, phase, resolution=resolution), pool[chosen]])
