"""Measured accuracies: which subnets to measure, and one subnet's figure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from ofa.predictors.costs.table import CostTable
from ofa.supernet.space import SearchSpace


def stratified_sample(space: SearchSpace, n: int, cost: CostTable, rng: np.random.Generator) -> np.ndarray:
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
    wanted = np.linspace(costs.min(), costs.max(), n)
    chosen: list[int] = []
    free = np.ones(len(candidates), bool)
    # From the ends inwards, so that both ends are kept.
    for target in wanted[np.argsort(-np.abs(np.arange(n) - (n - 1) / 2), kind="stable")]:
        if not free.any():
            break
        distance = np.where(free, np.abs(costs - target), np.inf)
        chosen.append(int(distance.argmin()))
        free[chosen[-1]] = False
    order = sorted(chosen, key=lambda index: (costs[index], candidates[index].tolist()))
    return candidates[order]


def biased_sample(space: SearchSpace, n: int, rng: np.random.Generator) -> np.ndarray:
    """Codes whose genes lean to small or large options: the i-th uses ``u ** exponent`` of a uniform ``u``."""
    exponents = np.exp(rng.uniform(-2.5, 2.5, size=(n, 1)))
    draws = rng.random((n, space.num_genes)) ** exponents
    return space.canonical((draws * space.num_options).astype(np.int8))


@torch.no_grad()
def top1(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of right predictions on pairs of normalised images and labels."""
    right = count = 0
    for images, labels in batches:
        right += int((model(images).argmax(1) == labels).sum())
        count += len(labels)
    return right / count
