"""Judging predictors on networks that they have not seen."""

from __future__ import annotations

import numpy as np
from scipy.stats import kendalltau

ONE_STD = 0.6827  # share of a normal distribution within one standard deviation


def networks_of(codes: np.ndarray) -> np.ndarray:
    """The number ``(n,)`` of each row's network, counted from 0; repeated rows share one."""
    return np.unique(codes, axis=0, return_inverse=True)[1].ravel()


def folds_of(networks: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A random fold ``(n,)`` for each row, equal for rows of one network. Fewer networks than folds get one each."""
    count = int(networks.max()) + 1
    return np.random.default_rng(seed).permutation(count)[networks] % min(folds, count)


def kendall_tau(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation in [-1, 1]; 0 where either side is constant."""
    ordered = np.ptp(one) > 0 and np.ptp(other) > 0
    return float(kendalltau(one, other).statistic) if ordered else 0.0
