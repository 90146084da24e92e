"""Active collection: measure next the subnets that may move the front of accuracy over cost.

Pure functions over what has been measured so far; whoever measures calls ``candidates``, ``next_batch``, measures, and
asks ``converged`` whether to go on.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.costs.table import Table
from ofa.predictors.sampling import mutate, stratified_sample
from ofa.supernet.genome import Genome
from ofa.supernet.space import SearchSpace

_LEVELS = 100


def candidates(
    space: SearchSpace,
    codes: np.ndarray,
    accuracy: np.ndarray,
    *,
    cost: Table,
    n: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """At most ``n`` networks ``(m, genes)`` to choose a batch from, for spaces too large to look at whole.

    Half are spread over ``cost``, half differ in a gene or three from the measured front, where better ones are likely.
    """
    costs = cost.predict(codes)
    front = codes[np.asarray(accuracy) >= best_under_budget(costs, costs, accuracy)]
    wide = stratified_sample(space, n - n // 2, cost, rng)
    return np.unique(np.concatenate([wide, mutate(space, front, n // 2, rng)]), axis=0)


def next_batch(
    space: Genome,
    codes: np.ndarray,
    accuracy: np.ndarray,
    costs: np.ndarray,
    *,
    pool: np.ndarray,
    pool_costs: np.ndarray,
    n: int,
    seed: int = 0,
) -> np.ndarray:
    """Indices ``(n,)`` into ``pool`` of the networks to measure next, none of them measured yet, in order of cost.

    ``codes`` ``(rows, genes)``, ``accuracy`` and ``costs`` ``(rows,)`` are measured; ``pool`` ``(m, genes)`` with
    ``pool_costs`` ``(m,)`` may be. The pool is cut into ``n`` parts of rising cost, and of each comes the network of
    highest expected improvement (Jones et al., "Efficient global optimization", 1998) over the front at its own cost,
    by a Gaussian process of the rows. So batches are spread over cost, and the process' doubt is spent near the front.
    Fewer indices come back only when the pool has fewer new networks. Raises ``ValueError`` when shapes disagree, or
    for rows that no predictor can be fitted on.
    """
    codes, accuracy, costs = np.asarray(codes), np.asarray(accuracy, float), np.asarray(costs, float)
    pool, pool_costs = np.asarray(pool), np.asarray(pool_costs, float)
    if costs.shape != (len(codes),) or pool_costs.shape != (len(pool),):
        raise ValueError(
            f"costs have the shapes {costs.shape} and {pool_costs.shape}; {len(codes)} rows and {len(pool)} networks "
            "of the pool need one each"
        )
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least one network")
    known = {code.tobytes() for code in codes.astype(pool.dtype)}
    new = np.array([code.tobytes() not in known for code in pool], bool).nonzero()[0]
    # A network that is twice in the pool is chosen once.
    new = np.sort(new[np.unique(pool[new], axis=0, return_index=True)[1]])
    if not len(new):
        return new
    predictor = AccuracyPredictor(space, kind="gp", seed=seed).fit(codes, accuracy)
    gains = expected_improvement(predictor, pool[new], pool_costs[new], codes, costs)
    chosen = []
    for part in np.array_split(np.argsort(pool_costs[new], kind="stable"), min(n, len(new))):
        chosen.append(part[gains[part].argmax()])
    return new[chosen]


def expected_improvement(
    predictor: AccuracyPredictor, pool: np.ndarray, pool_costs: np.ndarray, codes: np.ndarray, costs: np.ndarray
) -> np.ndarray:
    """Expected gain ``(m,)`` in accuracy of each network of the pool over the best measured one that costs no more.

    Measured networks count by their predicted accuracy: a lucky measurement should not hide its neighbours.
    """
    mean, std = predictor.predict(pool, return_std=True)
    best = best_under_budget(pool_costs, costs, predictor.predict(codes))
    ahead = (mean - best) / std
    return (mean - best) * norm.cdf(ahead) + std * norm.pdf(ahead)


def best_under_budget(limits: np.ndarray, costs: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """The front: for each limit ``(k,)`` the highest accuracy among networks that cost no more.

    Below the cheapest network it is the lowest accuracy of all.
    """
    order = np.argsort(costs, kind="stable")
    best = np.maximum.accumulate(np.asarray(accuracy, float)[order])
    affordable = np.searchsorted(np.asarray(costs)[order], limits, side="right")  # how many networks
    return np.concatenate([[np.min(accuracy)], best])[affordable]


def converged(accuracy: np.ndarray, costs: np.ndarray, *, newest: int, tolerance: float = 0.01) -> bool:
    """Whether the last ``newest`` of the rows, in order of measurement, have moved the front too little to go on.

    The front's mean height over evenly spaced costs must have risen by less than ``tolerance`` times the spread of the
    accuracies (their highest less their lowest). Raises ``ValueError`` unless rows are left before the newest.
    """
    accuracy, costs = np.asarray(accuracy, float), np.asarray(costs, float)
    if not 0 < newest < len(accuracy) or len(costs) != len(accuracy):
        raise ValueError(f"newest is {newest} of {len(accuracy)} accuracies and {len(costs)} costs; leave rows before")
    limits = np.linspace(costs.min(), costs.max(), _LEVELS)
    before = best_under_budget(limits, costs[:-newest], accuracy[:-newest])
    after = best_under_budget(limits, costs, accuracy)
    return bool(np.mean(np.maximum(after - before, 0)) < tolerance * np.ptp(accuracy))
