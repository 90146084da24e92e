"""A latency table of a new device from tables of known ones and a few whole networks timed on it.

What a network takes on the new device is taken for a sum: of what it takes on each known device, and of what it does
(multiply-accumulates, weights, blocks, area), each times a weight that is never negative. The weights are those of
Bayesian linear regression, a Gaussian process with a linear kernel; ten networks are enough for them. A sum of tables
is a table, so searches and expected costs work as with a measured one.

HELP (https://arxiv.org/abs/2106.08630) learns such a transfer with a neural network. What is reached here on its
latencies: ``benchmarks/results/few_shot_latency.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

from ofa.predictors.blas import one_blas_thread
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.parts import Part
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import cost_quality, networks_of
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.genome import DTYPE, Genome
from ofa.supernet.space import SearchSpace

FEWEST = 5  # networks: there are more weights than that, and the prior does the rest
# Prior standard deviations of the share of a network's time that one sum has, and of the error that no sum explains.
# Over wide ranges they make no difference (benchmarks/results/few_shot_latency.md).
_OF_A_DEVICE, _OF_A_COUNT, _OF_THE_INTERCEPT, _ERROR = 10.0, 0.5, 0.5, 0.1
_DRAWS = 1000  # networks of which those to time are chosen
_HEAD = {"num_classes": 1000, "in_chans": 3}  # of the counts: the head is a small part of them


@one_blas_thread
def transfer_latency(
    known: Table | Sequence[Table], subnets: Sequence[Any] | np.ndarray, milliseconds: Sequence[float] | np.ndarray
) -> CostTable:
    """The table of a device on which ``subnets`` took ``milliseconds`` ``(n,)``.

    Args:
        known: tables of the same space, of one known device or of several; also counts, where they say something.
        subnets: networks of the space, or codes ``(n, genes)``; ten that ``networks_to_time`` chooses are enough.
        milliseconds: of each, above 0.

    ``info["quality"]`` is the error on each network when the others alone are known; ``info["shares"]`` says how much
    of the time of those networks each sum explains.

    Raises ``ValueError`` for fewer than five different networks, tables of different spaces or of maxima, and times
    that are not positive.
    """
    tables = [known] if isinstance(known, Table) else list(known)
    space = _one_space(tables)
    codes, times = _checked(space, subnets, milliseconds)
    sums = [*(part for table in tables for part in _without_caches(table)), *_counts(space)]
    priors = np.r_[np.full(len(sums) - len(_counts(space)), _OF_A_DEVICE), np.full(len(_counts(space)), _OF_A_COUNT)]
    inputs = np.column_stack([_total(table, codes) for table in sums])

    # Each network from the others, and then the weights of all.
    left_out = np.empty(len(times))
    for row in range(len(times)):
        others = np.arange(len(times)) != row
        weights, intercept = _weights(inputs[others], times[others], priors)
        left_out[row] = inputs[row] @ weights + intercept
    weights, intercept = _weights(inputs, times, priors)

    shares = (inputs * weights / times[:, None]).mean(axis=0).round(4).tolist()
    return CostTable(
        space,
        tables[0].name,
        tables[0].unit,
        _added(sums, weights),
        intercept=intercept + float(sum(weight * table.intercept for weight, table in zip(weights, sums, strict=True))),
        info={
            "source": f"transferred from {len(tables)} known table{'s' * (len(tables) > 1)}",
            "known": [_named(table) for table in tables],
            "shares": [[_named(table), share] for table, share in zip(sums, shares, strict=True)],
            "quality": cost_quality(left_out, times, fit_subnets=len(times)),
        },
        floor=float(times.min()) / 2,
    )


def networks_to_time(known: Table | Sequence[Table], count: int, *, seed: int = 0) -> np.ndarray:
    """Codes ``(count, genes)`` that tell most of a new device: far from each other in all that is known of them.

    Of 1,000 random networks one, and then each time the one that is farthest from those chosen. Raises ``ValueError``
    for tables of different spaces, and when the space has fewer networks.
    """
    tables = [known] if isinstance(known, Table) else list(known)
    space, rng = _one_space(tables), np.random.default_rng(seed)
    codes = np.unique(space.sample(_DRAWS, rng), axis=0)
    if count > len(codes):
        raise ValueError(f"{count} networks are asked for, and {len(codes)} different ones were found; time fewer")
    return codes[farthest_apart(tables, codes, count, rng=rng)]


def farthest_apart(known: Sequence[Table], codes: np.ndarray, count: int, *, rng: np.random.Generator) -> np.ndarray:
    """The rows ``(count,)`` of different ``codes`` that ``networks_to_time`` would choose among them."""
    totals = np.column_stack([_total(table, codes) for table in [*known, *_counts(known[0].space)]])
    logs = np.log(np.maximum(totals, 1e-12 * np.abs(totals).max(axis=0)))
    spread = logs.std(axis=0)
    places = (logs - logs.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    chosen = [int(rng.integers(len(codes)))]
    distance = np.square(places - places[chosen[0]]).sum(axis=1)
    while len(chosen) < count:
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.square(places - places[chosen[-1]]).sum(axis=1))
    return np.array(chosen)


def _one_space(tables: Sequence[Table]) -> Genome:
    if not tables:
        raise ValueError("there is no known table; give that of at least one device")
    for table in tables:
        if table.combine != "sum":
            raise ValueError(f"{table.name} is the largest of its parts; only sums over parts can be transferred")
        if table.space is not tables[0].space and table.space.to_dict() != tables[0].space.to_dict():
            raise ValueError("the known tables are of different search spaces; give those of one")
    return tables[0].space


def _checked(space: Genome, subnets: Sequence[Any] | np.ndarray, times: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        encoded = subnets if isinstance(subnets, np.ndarray) else [space.encode(each) for each in subnets]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"one of the networks is not of the known tables' space: {error}") from error
    codes, times = np.asarray(encoded, DTYPE).reshape(-1, space.num_genes), np.asarray(times, np.float64)
    if times.shape != (len(codes),):
        raise ValueError(f"there are {len(codes)} networks and times of the shape {times.shape}; give one of each")
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise ValueError("every time must be a positive number of milliseconds")
    if len(codes) == 0 or (different := int(networks_of(codes).max()) + 1) < FEWEST:
        raise ValueError(f"{different if len(codes) else 0} different networks are too few; time at least {FEWEST}")
    return codes, times


def _without_caches(table: Table) -> list[Table]:
    """The table; with caches, what networks take from warm ones, and what they take more from cold ones.

    The new device's caches are its own, so that the sums have a weight each.
    """
    if table.caches is None:
        return [table]
    extra, _ = table.caches.parts(table.parts)
    warm = Table(table.space, table.name, table.unit, table.parts, table.slope, table.intercept, table.info)
    return [warm, Table(table.space, f"{table.name} from cold caches", table.unit, tuple(extra), table.slope)]


def _counts(space: Genome) -> list[Table]:
    """What every device spends time on: arithmetic, weights, and each block, by itself and by its area."""
    if not isinstance(space, SearchSpace | CellSpace):
        return []
    macs, params = CostTable.macs(space, **_HEAD), CostTable.params(space, **_HEAD)
    if isinstance(space, CellSpace):
        return [macs, params]
    area = np.square(space.resolutions) / space.resolutions[-1] ** 2

    def of_blocks(name: str, along: np.ndarray) -> Table:
        parts = tuple(
            Part(
                part.genes,
                np.broadcast_to(along.reshape(-1, *[1] * (part.costs.ndim - 1)), part.costs.shape) * (number > 0),
                part.depth_gene,
                part.min_option,
            )
            for number, part in enumerate(macs.parts)  # the first is stem and head
        )
        return Table(space, name, "", parts)

    return [macs, params, of_blocks("blocks", np.ones_like(area)), of_blocks("blocks by area", area)]


def _total(table: Table, codes: np.ndarray) -> np.ndarray:
    """The sum of each network, before the bend of ``floor``."""
    return table.intercept + table.slope * table.predict_parts(codes).sum(axis=1)


def _weights(inputs: np.ndarray, times: np.ndarray, priors: np.ndarray) -> tuple[np.ndarray, float]:
    """The most probable weight of each sum ``(k,)``, not negative, and the intercept."""
    columns = np.column_stack([inputs, np.ones(len(times))]) / times[:, None]
    sizes = np.maximum(np.abs(columns).mean(axis=0), 1e-12)
    prior = np.diag(_ERROR / np.r_[priors, _OF_THE_INTERCEPT])
    matrix = np.vstack([columns / sizes, prior])
    lowest = np.r_[np.zeros(len(priors)), -times.min() / 2 * sizes[-1]]
    found = lsq_linear(matrix, np.r_[np.ones(len(times)), np.zeros(len(sizes))], (lowest, np.inf)).x / sizes
    return found[:-1], float(found[-1])


def _added(tables: Sequence[Table], weights: np.ndarray) -> tuple[Part, ...]:
    """The parts of all tables times their weights; those of the same genes are one."""
    costs: dict[tuple[tuple[int, ...], int | None, int], np.ndarray] = {}
    for table, weight in zip(tables, weights, strict=True):
        for part in table.parts:
            key = part.genes, part.depth_gene, part.min_option
            costs[key] = costs.get(key, 0.0) + weight * table.slope * part.costs
    return tuple(Part(genes, values, depth, least) for (genes, depth, least), values in costs.items())


def _named(table: Table) -> str:
    """A table's name, with the device that it holds for where it says so."""
    device = next((table.info[key] for key in ("device", "gpu", "cpu", "file") if table.info.get(key)), None)
    return f"{table.name} of {device}" if device else table.name
