"""From times of parts to times of networks: what parts timed apart do not show."""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear
from scipy.stats import kendalltau

# Weight of "every group by the same factor" against one measured network.
_RIDGE = 0.03
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def correction(groups: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, float]:
    """A factor for each group of parts ``(g,)`` and an intercept, by least squares of relative errors.

    ``groups`` ``(n, g)``: what the parts of each group (stem, head, stages) take in each of ``n`` networks;
    ``measured`` ``(n,)``: what the networks took. Parts that run apart differ from parts that run in a network by
    their caches and by what the runtime fuses over their borders, and that differs between large early maps and small
    late ones. Ridge regression pulls the factors toward the straight line through the sums, so few networks are
    enough; factors are never negative.
    """
    slope, intercept = _line(groups.sum(axis=1), measured)
    columns = np.column_stack([groups, np.ones(len(groups))]) / measured[:, None]
    sizes = np.maximum(np.abs(columns).mean(axis=0), 1e-12)
    wished = np.r_[np.full(groups.shape[1], slope), intercept]
    weight = np.sqrt(_RIDGE * len(measured))
    matrix = np.vstack([columns / sizes, weight * np.eye(len(sizes))])
    lowest = np.r_[np.zeros(groups.shape[1]), -measured.min() / 2] * sizes
    found = lsq_linear(matrix, np.r_[np.ones(len(measured)), weight * wished * sizes], (lowest, np.inf)).x / sizes
    return found[:-1], float(found[-1])


def cold_fraction(cold: np.ndarray, warm: np.ndarray, measured: np.ndarray) -> float:
    """How much of the parts' times counts as measured from cold caches, in [0, 1]: what predicts networks left out.

    ``cold``, ``warm`` ``(n, g)`` and ``measured`` ``(n,)`` as for ``correction``. Networks that fit in the caches run
    warm; large ones evict their own early layers.
    """
    if len(measured) < 3:
        return 0.5
    return min(_SHARES, key=lambda share: _left_out_error(share * cold + (1 - share) * warm, measured))


def _left_out_error(groups: np.ndarray, measured: np.ndarray) -> float:
    total = 0.0
    for out in range(len(measured)):
        rest = np.arange(len(measured)) != out
        factors, intercept = correction(groups[rest], measured[rest])
        total += abs(groups[out] @ factors + intercept - measured[out]) / measured[out]
    return total


def errors(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """``mape`` (mean relative error) and ``kendall_tau``: None without networks, the rank correlation also for one."""
    if not len(measured):
        return {"mape": None, "kendall_tau": None}
    return {
        "mape": float(np.mean(np.abs(predicted - measured) / measured)),
        "kendall_tau": float(kendalltau(predicted, measured).statistic) if len(measured) > 1 else None,
    }


def _line(sums: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of least squared relative error; the slope alone where a line says nothing."""
    weights = 1 / measured
    if len(sums) > 1 and np.ptp(sums) > 1e-9:
        slope, intercept = np.polyfit(sums, measured, 1, w=weights)
        if slope > 0:
            return float(slope), float(intercept)
    return float(np.sum(measured * sums * weights**2) / np.sum((sums * weights) ** 2)), 0.0
