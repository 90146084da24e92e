"""From times of parts to times of networks: what parts timed apart do not show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import lsq_linear

from ofa.predictors.costs.part_genes import end_genes, ends_alike, part_genes, parts_of
from ofa.predictors.costs.table import Table
from ofa.supernet.space import SearchSpace

RIDGE = 0.03  # weight of "every group by the same factor" against one measured network
COLD_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)  # that are tried


def corrected_table(
    space: SearchSpace,
    cold: Sequence[np.ndarray],
    warm: Sequence[np.ndarray],
    codes: np.ndarray,
    measured: np.ndarray,
) -> Table:
    """The latency table that fits what the networks ``codes`` took: ``measured`` ms ``(n,)``.

    ``cold`` and ``warm``: ms of stem, head and each block, ``(resolutions, options of its first gene, ...)``, from cold
    and from warm caches.
    """
    stages = [block.stage for block in space.blocks]
    cold_groups, warm_groups = (_group_times(space, costs, codes, stages) for costs in (cold, warm))
    fraction = cold_fraction(cold_groups, warm_groups, measured)
    factors, intercept = correction(fraction * cold_groups + (1 - fraction) * warm_groups, measured)
    costs = [fraction * one + (1 - fraction) * other for one, other in zip(cold, warm, strict=True)]
    ends = np.stack(ends_alike(space, *costs[:2]), axis=-1) @ factors[:2]
    blocks = [block * factors[2 + stage] for block, stage in zip(costs[2:], stages, strict=True)]
    return Table(
        space,
        "latency",
        "ms",
        parts_of(space, ends, blocks),
        intercept=intercept,
        info={"cold_fraction": fraction},
        floor=float(measured.min()) / 2,
    )


def _group_times(
    space: SearchSpace, costs: Sequence[np.ndarray], codes: np.ndarray, stages: Sequence[int]
) -> np.ndarray:
    """What stem, head and the blocks of each stage take in each network: ms ``(n, 2 + stages)``."""
    rows = (*end_genes(space), *part_genes(space)[1:])
    parts = tuple(row.part(values) for row, values in zip(rows, costs, strict=True))
    each = Table(space, "latency", "ms", parts).predict_parts(codes)
    of_stages = [np.where(np.equal(stages, stage), each[:, 2:], 0.0).sum(axis=1) for stage in range(max(stages) + 1)]
    return np.column_stack([each[:, :2], *of_stages])


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
    prior = np.r_[np.full(groups.shape[1], slope), intercept]
    weight = np.sqrt(RIDGE * len(measured))
    matrix = np.vstack([columns / sizes, weight * np.eye(len(sizes))])
    lowest = np.r_[np.zeros(groups.shape[1]), -measured.min() / 2] * sizes
    found = lsq_linear(matrix, np.r_[np.ones(len(measured)), weight * prior * sizes], (lowest, np.inf)).x / sizes
    return found[:-1], float(found[-1])


def cold_fraction(cold: np.ndarray, warm: np.ndarray, measured: np.ndarray) -> float:
    """How much of the parts' times counts as measured from cold caches, in [0, 1]: what predicts networks left out.

    ``cold``, ``warm`` ``(n, g)`` and ``measured`` ``(n,)`` as for ``correction``. Networks that fit in the caches run
    warm; large ones evict their own early layers.
    """
    if len(measured) < 3:
        return 0.5
    return min(COLD_FRACTIONS, key=lambda each: _left_out_error(each * cold + (1 - each) * warm, measured))


def _left_out_error(groups: np.ndarray, measured: np.ndarray) -> float:
    total = 0.0
    for out in range(len(measured)):
        rest = np.arange(len(measured)) != out
        factors, intercept = correction(groups[rest], measured[rest])
        total += abs(groups[out] @ factors + intercept - measured[out]) / measured[out]
    return total


def _line(sums: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of least squared relative error; the slope alone where a line says nothing."""
    weights = 1 / measured
    if len(sums) > 1 and np.ptp(sums) > 1e-9:
        slope, intercept = np.polyfit(sums, measured, 1, w=weights)
        if slope > 0:
            return float(slope), float(intercept)
    return float(np.sum(measured * sums * weights**2) / np.sum((sums * weights) ** 2)), 0.0
