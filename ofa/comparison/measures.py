"""How good a set of networks is: accuracy (a share, higher is better) against a cost (lower is better)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ofa.strategies.pareto import front


class Point(NamedTuple):
    """A network."""

    cost: float
    accuracy: float


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats, the cheapest first."""
    if not points:
        return []
    values = np.array([(point.cost, -point.accuracy) for point in points])
    return [points[row] for row in front(values)]


def hypervolume(points: Sequence[Point], *, reference: float) -> float:
    """The area between a front and the point of cost ``reference`` and accuracy 0, as a share of ``reference``.

    That is the mean, over all limits from 0 to ``reference``, of the best accuracy inside the limit (0 where no network
    fits): https://doi.org/10.1109/4235.797969 in two dimensions.
    """
    area, accuracy, at = 0.0, 0.0, 0.0
    for point in pareto_front([point for point in points if point.cost <= reference]):
        area += accuracy * (point.cost - at)
        accuracy, at = point.accuracy, point.cost
    return (area + accuracy * (reference - at)) / reference
