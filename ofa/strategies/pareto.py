"""Pareto fronts: which rows no other row beats. All functions take values ``(n, m)`` of which lower is better."""

from __future__ import annotations

import numpy as np


def front(values: np.ndarray) -> np.ndarray:
    """Rows that no other row beats (not higher in any value, and lower in one); of equal rows the first.

    Ascending by the first value, then the second, and so on.
    """
    order = np.lexsort(values.T[::-1])
    left, rows = values[order], []
    if values.shape[1] == 2:
        lowest_before = np.r_[np.inf, np.minimum.accumulate(left[:, 1])[:-1]]
        return order[left[:, 1] < lowest_before]
    while len(order):
        # Nothing behind a row in this order beats it, so what survives all rows before it is of the front.
        rows.append(order[0])
        stays = (left < left[0]).any(axis=1)
        order, left = order[stays], left[stays]
    return np.array(rows, int)


def nondominated_sort(values: np.ndarray) -> np.ndarray:
    """Number of each row's front ``(n,)``: 0 where no row beats it, 1 where only rows of front 0 do, and so on.

    Fast non-dominated sorting (https://doi.org/10.1109/4235.996017, section III-A) on whole matrices ``(n, n)``.
    """
    n = len(values)
    never_higher, lower = np.ones((n, n), bool), np.zeros((n, n), bool)
    for column in values.T:
        never_higher &= column[:, None] <= column
        lower |= column[:, None] < column
    beats = never_higher & lower
    beaten_by = beats.sum(axis=0)
    rank, level = np.full(n, -1), 0
    while (current := np.flatnonzero((beaten_by == 0) & (rank < 0))).size:
        rank[current] = level
        beaten_by -= beats[current].sum(axis=0)
        level += 1
    return rank


def crowding_distance(values: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """How far each row's neighbours in its own front are apart ``(n,)`` (section III-B of the same paper).

    Summed over the values, each divided by its range in that front; infinite at both ends of a front.
    """
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.lexsort((column, rank))
        sorted_rank, sorted_values = rank[order], column[order]
        starts = np.flatnonzero(np.r_[True, np.diff(sorted_rank) > 0])
        lengths = np.diff(np.r_[starts, len(order)])
        ends = starts + lengths - 1
        span = np.repeat(sorted_values[ends] - sorted_values[starts], lengths)
        gaps = np.zeros(len(order))
        gaps[1:-1] = sorted_values[2:] - sorted_values[:-2]
        gaps = np.divide(gaps, span, out=np.zeros(len(order)), where=span > 0)
        gaps[starts] = gaps[ends] = np.inf
        distance[order] += gaps
    return distance
