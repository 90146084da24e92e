"""Which networks a training step runs: one function a sampling, and what each needs.

A sampling gives codes ``(n, genes)``, int8 and canonical, drawn from ``rng`` and nothing else. Every row has the same
``resolution`` (the index of that gene), because a batch has one size. No gene is below ``min_options`` ``(genes,)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ofa.supernet.genome import DTYPE
from ofa.supernet.space import SearchSpace

POOL_SIZE = 256  # codes that attentive sampling chooses from: enough for three near every stratum
NUM_CANDIDATES = 3  # BestUp-3 and WorstUp-3


@dataclass(frozen=True)
class CandidateScorer:
    """What a sampling may ask about codes ``(n, genes)``; only attentive sampling does.

    Attributes:
        macs: multiply-accumulates ``(n,)``.
        loss: lower is better ``(n,)``: on the step's mini-batch, or minus a predicted accuracy. Asked once a step.
    """

    macs: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[np.ndarray], np.ndarray]


def uniform(
    space: SearchSpace, n: int, *, min_options: np.ndarray, rng: Generator, resolution: int, scorer: CandidateScorer
) -> np.ndarray:
    """Every open option equally likely."""
    codes = space.sample(n, rng, min_options=min_options)
    codes[:, space.genes_of("resolution")] = resolution
    return codes


def sandwich(
    space: SearchSpace, n: int, *, min_options: np.ndarray, rng: Generator, resolution: int, scorer: CandidateScorer
) -> np.ndarray:
    """The largest network, the smallest that is open, and uniform ones (BigNAS, arXiv:2003.11142)."""
    between = uniform(space, n - 2, min_options=min_options, rng=rng, resolution=resolution, scorer=scorer)
    return np.concatenate([_largest_and_smallest(space, min_options, resolution), between])


def best_up(
    space: SearchSpace, n: int, *, min_options: np.ndarray, rng: Generator, resolution: int, scorer: CandidateScorer
) -> np.ndarray:
    """Largest, smallest, and the better ones of their size: of three near a drawn size, the lowest loss.

    Trains the front that search looks for (AttentiveNAS, arXiv:2011.09011). Sizes, in multiply-accumulates, are drawn
    uniformly between the least and the largest of a sampled pool: uniform codes alone bunch in the middle.
    """
    pool, near, losses = _candidates(space, n - 2, min_options, rng, resolution, scorer)
    chosen = np.take_along_axis(near, np.argmin(losses, axis=1)[:, None], axis=1)[:, 0]
    return np.concatenate([_largest_and_smallest(space, min_options, resolution), pool[chosen]])


def worst_up(
    space: SearchSpace, n: int, *, min_options: np.ndarray, rng: Generator, resolution: int, scorer: CandidateScorer
) -> np.ndarray:
    """As ``best_up``, but the highest loss: trains the networks that lag behind others of their size."""
    pool, near, losses = _candidates(space, n - 2, min_options, rng, resolution, scorer)
    chosen = np.take_along_axis(near, np.argmax(losses, axis=1)[:, None], axis=1)[:, 0]
    return np.concatenate([_largest_and_smallest(space, min_options, resolution), pool[chosen]])


@dataclass(frozen=True)
class Sampling:
    """One sampling.

    Attributes:
        sample: the function, called as ``uniform`` is.
        min_subnets: the fewest networks a step that it can give.
        largest_first: whether the first row is always the largest network, which an in-place teacher must be.
    """

    sample: Callable[..., np.ndarray]
    min_subnets: int = 1
    largest_first: bool = False


SAMPLERS: dict[str, Sampling] = {
    "uniform": Sampling(uniform),
    "sandwich": Sampling(sandwich, min_subnets=2, largest_first=True),
    "best_up": Sampling(best_up, min_subnets=3, largest_first=True),
    "worst_up": Sampling(worst_up, min_subnets=3, largest_first=True),
}


def sample_resolution(space: SearchSpace, rng: Generator) -> int:
    """Index of the resolution gene, every resolution equally likely."""
    return int(rng.integers(len(space.resolutions)))


def _largest_and_smallest(space: SearchSpace, min_options: np.ndarray, resolution: int) -> np.ndarray:
    """The largest and the smallest open network ``(2, genes)``."""
    ends = np.stack([space.num_options - 1, min_options])
    ends[:, space.genes_of("resolution")] = resolution
    return space.canonical(ends.astype(DTYPE))


def _candidates(
    space: SearchSpace, n: int, min_options: np.ndarray, rng: Generator, resolution: int, scorer: CandidateScorer
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A pool of codes; for each of ``n`` drawn sizes the indices of the nearest ones, and their losses ``(n, 3)``."""
    # Without repeats: three copies of one network would be no choice.
    sampled = uniform(space, POOL_SIZE, min_options=min_options, rng=rng, resolution=resolution, scorer=scorer)
    pool = np.unique(sampled, axis=0)
    macs = scorer.macs(pool)
    sizes = rng.uniform(macs.min(), macs.max(), size=n)
    distances = np.abs(macs - sizes[:, None])
    near = np.argsort(distances, axis=1, kind="stable")[:, :NUM_CANDIDATES]
    return pool, near, scorer.loss(pool[near.ravel()]).reshape(near.shape)
