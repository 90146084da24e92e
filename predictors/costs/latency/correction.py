"""From times of parts to times of networks: what parts timed apart do not show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.optimize import lsq_linear

from ofa.predictors.costs.caches import Caches, missed
from ofa.predictors.costs.part_genes import end_genes, ends_alike, part_genes, parts_of
from ofa.predictors.costs.parts import Part
from ofa.predictors.costs.table import Table
from ofa.supernet.space import SearchSpace

RIDGE = 0.03  # weight of "every group by the same factor" against one measured network
COLD_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)  # that are tried
# With caches the sums of parts are nearer to the networks, so that factors differ less.
RIDGE_WITH_CACHES = 0.1
# Fractions and the number of sizes that are tried of caches; the fewest networks that tell so much.
COLD_FRACTIONS_WITH_CACHES, CACHE_SIZES, FEWEST_WITH_CACHES = (0.75, 1.0), 14, 8
BETTER = 0.75  # caches must bring the error on networks left out down to this
MOST_LEFT_OUT = 32  # times that networks are left out


def corrected_table(
    space: SearchSpace,
    cold: Sequence[np.ndarray],
    warm: Sequence[np.ndarray],
    weights: Table,
    codes: np.ndarray,
    measured: np.ndarray,
) -> Table:
    """The latency table that fits what the networks ``codes`` took: ``measured`` ms ``(n,)``.

    ``cold`` and ``warm``: ms of stem, head and each block, ``(resolutions, options of its first gene, ...)``, from cold
    and from warm caches. ``weights``: bytes of each network's weights.
    """
    stages = [block.stage for block in space.blocks]
    cold_groups, warm_groups = (_group_times(space, costs, codes, stages) for costs in (cold, warm))
    network_weights = weights.predict(codes)
    fraction, kept = cold_caches(cold_groups, warm_groups, network_weights, measured)
    groups = mixed(cold_groups, warm_groups, network_weights, fraction=fraction, kept=kept)
    factors, intercept = correction(groups, measured, ridge=RIDGE_WITH_CACHES if kept else RIDGE)

    # The same factors for what parts take, and for what they take more from cold caches.
    def parts(costs: list[np.ndarray]) -> tuple[Part, ...]:
        ends = np.stack(ends_alike(space, *costs[:2]), axis=-1) @ factors[:2]
        blocks = [block * factors[2 + stage] for block, stage in zip(costs[2:], stages, strict=True)]
        return parts_of(space, ends, blocks)

    # Without caches every network has the same mixture, so that one sum is enough.
    each = list(zip(cold, warm, strict=True))
    if kept:
        always = list(warm)
        extra = tuple(part.costs for part in parts([fraction * (one - other) for one, other in each]))
        caches = Caches(kept, extra, tuple(part.costs for part in weights.parts))
    else:
        always, caches = [fraction * one + (1 - fraction) * other for one, other in each], None
    return Table(
        space,
        "latency",
        "ms",
        parts(always),
        intercept=intercept,
        info={"cold_fraction": fraction, **({"kept_bytes": kept} if kept else {})},
        floor=float(measured.min()) / 2,
        caches=caches,
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


def correction(groups: np.ndarray, measured: np.ndarray, *, ridge: float = RIDGE) -> tuple[np.ndarray, float]:
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
    weight = np.sqrt(ridge * len(measured))
    matrix = np.vstack([columns / sizes, weight * np.eye(len(sizes))])
    lowest = np.r_[np.zeros(groups.shape[1]), -measured.min() / 2] * sizes
    found = lsq_linear(matrix, np.r_[np.ones(len(measured)), weight * prior * sizes], (lowest, np.inf)).x / sizes
    return found[:-1], float(found[-1])


def cold_caches(cold: np.ndarray, warm: np.ndarray, weights: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """How much of the parts' times counts as measured from cold caches, in [0, 1], and of how many bytes on: what
    predicts networks left out (``mixed``).

    ``cold``, ``warm`` ``(n, g)`` and ``measured`` ``(n,)`` as for ``correction``; ``weights`` ``(n,)`` in bytes.
    Networks that fit in the caches run warm; larger ones read their weights from memory again in each inference. Where
    all are on one side of that, or nearly so, the fraction alone predicts better: 0 bytes.
    """
    if len(measured) < 3:
        return 0.5, 0.0

    def error(choice: tuple[float, float]) -> float:
        fraction, kept = choice
        groups = mixed(cold, warm, weights, fraction=fraction, kept=kept)
        return _left_out_error(groups, measured)

    plain = {(fraction, 0.0): error((fraction, 0.0)) for fraction in COLD_FRACTIONS}
    best = min(plain, key=plain.__getitem__)
    if len(measured) < FEWEST_WITH_CACHES or np.ptp(weights) == 0:
        return best
    # From far below the smallest network to nearly the largest; a space whose largest is huge has caches for few.
    sizes = np.geomspace(max(weights.min() / 2, weights.max() / 64), 0.9 * weights.max(), CACHE_SIZES)
    tried = {choice: error(choice) for choice in product(COLD_FRACTIONS_WITH_CACHES, sizes.tolist())}
    other = min(tried, key=tried.__getitem__)
    return other if tried[other] < BETTER * plain[best] else best


def mixed(cold: np.ndarray, warm: np.ndarray, weights: np.ndarray, *, fraction: float, kept: float) -> np.ndarray:
    """What the groups take in networks of ``weights`` bytes, of which caches keep ``kept``: ms ``(n, g)``."""
    share = fraction * (missed(weights, kept) if kept else np.ones(len(weights)))[:, None]
    return share * cold + (1 - share) * warm


def _left_out_error(groups: np.ndarray, measured: np.ndarray) -> float:
    """The sum of relative errors on networks that were left out: one at a time, of many a few."""
    total = 0.0
    for out in np.array_split(np.arange(len(measured)), min(len(measured), MOST_LEFT_OUT)):
        rest = np.delete(np.arange(len(measured)), out)
        factors, intercept = correction(groups[rest], measured[rest])
        total += np.sum(np.abs(groups[out] @ factors + intercept - measured[out]) / measured[out])
    return float(total)


def _line(sums: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of least squared relative error; the slope alone where a line says nothing."""
    weights = 1 / measured
    if len(sums) > 1 and np.ptp(sums) > 1e-9:
        slope, intercept = np.polyfit(sums, measured, 1, w=weights)
        if slope > 0:
            return float(slope), float(intercept)
    return float(np.sum(measured * sums * weights**2) / np.sum((sums * weights) ** 2)), 0.0
