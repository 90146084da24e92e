"""Several proxies as one ranking of a population."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata


def aggregate(scores: Mapping[str, Sequence[float] | np.ndarray]) -> np.ndarray:
    """The sum ``(n,)`` of the logarithms of each proxy's relative ranks, which is higher for better networks.

    A rank is 1 for the best of a population and ``1 / n`` for the worst, so a network that is last by one proxy is
    hardly saved by the others (AZ-NAS, arXiv:2403.19232). A network without a value (NaN) ranks last.

    Args:
        scores: values ``(n,)`` of the same networks by each proxy; higher is better.

    Raises ``ValueError`` for a single network, which has no rank, and for values of different numbers of networks.
    """
    columns = {name: np.asarray(values, float) for name, values in scores.items()}
    sizes = {column.shape for column in columns.values()}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        raise ValueError(f"give one value a network for each proxy; the shapes are {sorted(sizes)}")
    (count,) = next(iter(sizes))
    if count < 2:
        raise ValueError("a rank exists in a population of two networks or more; of one network, take single proxies")
    ranks = [rankdata(np.nan_to_num(column, nan=-np.inf, posinf=np.inf, neginf=-np.inf)) for column in columns.values()]
    return np.log(np.stack(ranks) / count).sum(axis=0)
