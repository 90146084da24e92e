"""Which subnets to measure: spread over a cost, split into those of a fit and of its test, or near given ones."""

from __future__ import annotations

import numpy as np

from ofa.predictors.costs.table import Table
from ofa.supernet.genome import Genome
from ofa.supernet.integers import ceil_div
from ofa.supernet.space import SearchSpace


def stratified_sample(space: SearchSpace, n: int, cost: Table, rng: np.random.Generator) -> np.ndarray:
    """``n`` distinct codes ``(n, genes)`` spread evenly over ``cost``, smallest and largest network included.

    Uniform genes bunch in the middle: sums of many choices do. So candidates are drawn with every gene leaning to small
    or to large by a bias of their own, and of each of ``n`` equal intervals of cost one candidate is kept. Fewer codes
    come back only when the space has fewer networks.
    """
    n = min(n, space.size)
    ends = np.stack([space.encode(space.smallest), space.encode(space.largest)])
    candidates = np.unique(np.concatenate([ends, biased_sample(space, max(1000, 50 * n), rng)]), axis=0)
    if len(candidates) < n:  # a space so small that drawing misses networks
        candidates = np.unique(np.concatenate([candidates, space.sample(100 * n, rng)]), axis=0)
    candidates = rng.permutation(candidates)
    costs = cost.predict(candidates)
    levels = np.linspace(costs.min(), costs.max(), n)
    chosen: list[int] = []
    free = np.ones(len(candidates), bool)
    # From the ends inwards, so that both ends are kept.
    for level in levels[np.argsort(-np.abs(np.arange(n) - (n - 1) / 2), kind="stable")]:
        if not free.any():
            break
        distance = np.where(free, np.abs(costs - level), np.inf)
        chosen.append(int(distance.argmin()))
        free[chosen[-1]] = False
    order = sorted(chosen, key=lambda index: (costs[index], candidates[index].tolist()))
    return candidates[order]


def fit_and_test(
    space: SearchSpace, cost: Table, *, fit: int, test: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct codes ``(fit, genes)`` to fit a cost table to and ``(test, genes)`` to judge it on, both spread over
    ``cost``.

    A space with fewer networks is shared in the same proportion: at least one for the fit, and one for the test where
    there are two.
    """
    codes = rng.permutation(stratified_sample(space, fit + test, cost, rng))
    if len(codes) < fit + test:
        proportional = ceil_div(len(codes) * fit, fit + test)
        fit = max(1, min(proportional, len(codes) - 1 if test else len(codes)))
    return codes[:fit], codes[fit:]


def biased_sample(space: SearchSpace, n: int, rng: np.random.Generator) -> np.ndarray:
    """Codes whose genes lean to small or large options: the i-th uses ``u ** exponent`` of a uniform ``u``."""
    exponents = np.exp(rng.uniform(-2.5, 2.5, size=(n, 1)))
    draws = rng.random((n, space.num_genes)) ** exponents
    return space.canonical((draws * space.num_options).astype(np.int8))


def mutate(space: Genome, codes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` canonical codes ``(n, genes)`` that differ from random ones of ``codes`` in about two genes."""
    parents = codes[rng.integers(0, len(codes), n)]
    redrawn = rng.integers(0, space.num_options, size=parents.shape).astype(parents.dtype)
    return space.canonical(np.where(rng.random(parents.shape) < 2 / space.num_genes, redrawn, parents))
