"""A cost table from whole networks that were measured elsewhere: regression on what their blocks do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from ofa.predictors.blas import one_blas_thread
from ofa.predictors.costs.counts import macs_table
from ofa.predictors.costs.memory import flash, peak_memory
from ofa.predictors.costs.parts import Part
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import cost_quality, folds_of, mape, networks_of
from ofa.supernet.space import SearchSpace

MIN_ROWS = 20
_FOLDS = 5
_HEAD = {"num_classes": 2, "in_chans": 3}  # of the counts that features are made of

# Freedom of each group of features: the whole network's work, each resolution, each stage, each slot, each option. What
# all blocks share is learnt from few rows; a single option departs from it only as far as the rows insist. Chosen on
# GPU latencies (benchmarks/imports.py): a plain indicator of each block's options needs ten times the rows.
_SHAPES = {
    "network": (1.0, 0.0, 0.0, 0.0, 0.0),
    "stages": (1.0, 0.01, 0.1, 0.0, 0.0),
    "blocks": (1.0, 0.01, 0.1, 0.01, 0.003),
    "blocks, wary": (1.0, 0.01, 0.01, 0.001, 0.0003),
    "blocks, free": (1.0, 0.1, 0.1, 0.1, 0.1),
}
_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


@one_blas_thread
def fit_costs(
    space: SearchSpace,
    codes: np.ndarray,
    values: np.ndarray,
    *,
    name: str = "latency",
    unit: str = "ms",
    info: dict[str, Any] | None = None,
    seed: int = 0,
) -> Table:
    """The table that best predicts ``values`` ``(n,)``, positive and in ``unit``, of the networks ``codes``.

    Ridge regression of relative errors on sums over blocks (how many, their MACs, weights and activations: of the whole
    network, each resolution, stage, slot and option). How free each of these is, and the penalty, are chosen by
    cross-validation; rows of one network stay on one side of it.

    ``info["quality"]`` has the cross-validated ``mape`` and ``kendall_tau`` (each row was once held out), and the
    ``mape`` of each shape that was tried.

    Raises ``ValueError`` below 20 rows of 5 networks, and for values not positive.
    """
    codes, values = np.asarray(codes), np.asarray(values, np.float64)
    networks = networks_of(codes)
    count = int(networks.max()) + 1 if len(networks) else 0
    if len(codes) < MIN_ROWS or count < _FOLDS:
        raise ValueError(
            f"{len(codes)} rows of {count} networks are too few to fit a cost table; measure at least {MIN_ROWS}"
        )
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"every {name} must be a positive number")
    # Every shape with every penalty, judged on networks that its fit has not seen.
    basis, groups = _basis(space)
    inputs = _sums(basis, codes)
    folds = folds_of(networks, _FOLDS, seed)
    tried: dict[tuple[str, float], np.ndarray] = {}
    for shape, penalty in product(_SHAPES, _PENALTIES):
        predicted = np.empty(len(values))
        for out in (folds == number for number in range(_FOLDS)):
            coefficients, intercept = _ridge(inputs[~out], values[~out], groups, _SHAPES[shape], penalty)
            predicted[out] = inputs[out] @ coefficients + intercept
        tried[shape, penalty] = predicted
    errors = {key: mape(predicted, values) for key, predicted in tried.items()}
    best = min(errors, key=errors.__getitem__)

    # The best of them on all rows: a part costs what its features do, each times its coefficient.
    coefficients, intercept = _ridge(inputs, values, groups, _SHAPES[best[0]], best[1])
    quality = {
        **cost_quality(tried[best], values, fit_subnets=len(values), pairs=False),
        "shape": best[0],
        "shapes": {shape: min(errors[shape, penalty] for penalty in _PENALTIES) for shape in _SHAPES},
    }
    return Table(
        space,
        name,
        unit,
        tuple(replace(part, costs=np.tensordot(coefficients, features, axes=1)) for part, features in basis),
        intercept=intercept,
        info={**(info or {}), "quality": quality},
        floor=float(values.min()) / 2,
    )


def _ridge(
    inputs: np.ndarray, values: np.ndarray, groups: np.ndarray, shape: tuple[float, ...], penalty: float
) -> tuple[np.ndarray, float]:
    """Coefficients of ``inputs`` and intercept; a feature's scale is its freedom, so that one penalty serves all."""
    spread = inputs.std(axis=0)
    scale = np.sqrt(np.array(shape))[groups] / np.where(spread > 0, spread, np.inf)
    weights = 1 / values**2
    model = Ridge(alpha=penalty).fit(inputs * scale, values, sample_weight=weights / weights.mean())
    return model.coef_ * scale, float(model.intercept_)


def _basis(space: SearchSpace) -> tuple[list[tuple[Part, np.ndarray]], np.ndarray]:
    """Features of each part ``(features, *options of its genes)``, and the group of each feature (``_SHAPES``).

    A feature is itself a small cost table: what it is in a network is its sum over the parts that run.
    """
    parts = macs_table(space, **_HEAD).parts
    rows = list(_features(space, parts))
    features = zip(*(costs for costs, _ in rows), strict=True)
    basis = [(part, np.stack(costs)) for part, costs in zip(parts, features, strict=True)]
    return basis, np.array([group for _, group in rows])


def _features(space: SearchSpace, parts: Sequence[Part]) -> Iterator[tuple[list[np.ndarray], int]]:
    """Each feature's costs of each part, and its group."""
    ends, *blocks = [np.zeros_like(part.costs) for part in parts]
    area = np.square(space.resolutions) / space.resolutions[-1] ** 2
    tables = [make(space, **_HEAD) for make in (macs_table, peak_memory, flash)]
    works = [[np.ones_like(block) for block in blocks], *(_scaled(table.parts[1:]) for table in tables)]
    count, macs = works[0], works[1]

    # The whole network: that it is one, its image, and the work of its blocks.
    yield [np.ones_like(ends), *blocks], 0
    yield [ends + _along_resolution(area, ends), *blocks], 0
    for work in (*works, [ones * _along_resolution(area, ones) for ones in count]):
        yield [ends, *work], 0
    # Each resolution.
    for row in np.eye(len(ends)):
        yield [ends + _along_resolution(row, ends), *blocks], 1
        yield [ends, *(block * _along_resolution(row, block) for block in macs)], 1
    # Each stage.
    for stage in sorted({block.stage for block in space.blocks}):
        inside = [block.stage == stage for block in space.blocks]
        for work in works:
            yield [ends, *(block * here for block, here in zip(work, inside, strict=True))], 2
    # Stem and head, where widths are chosen of them.
    if ends.ndim > 1:
        for table in tables:
            yield [table.parts[0].costs / table.parts[0].costs.mean(), *blocks], 2
    # Each block, and each option of its genes.
    for number, part in enumerate(parts[1:]):
        here = [work[number] for work in works[:3]]
        for work in here:
            yield [ends, *blocks[:number], work, *blocks[number + 1 :]], 3
        for work in here[:2]:
            for axis in range(1, len(part.genes)):
                for option in np.eye(work.shape[axis]):
                    chosen = work * option.reshape([-1 if other == axis else 1 for other in range(work.ndim)])
                    yield [ends, *blocks[:number], chosen, *blocks[number + 1 :]], 4


def _scaled(blocks: Sequence[Part]) -> list[np.ndarray]:
    """Costs of all options of all blocks, divided by their mean."""
    mean = np.concatenate([block.costs.ravel() for block in blocks]).mean()
    return [block.costs / mean for block in blocks]


def _along_resolution(values: np.ndarray, part: np.ndarray) -> np.ndarray:
    return values.reshape(-1, *[1] * (part.ndim - 1))


def _sums(basis: Sequence[tuple[Part, np.ndarray]], codes: np.ndarray) -> np.ndarray:
    """Each feature of each network ``(n, features)``."""
    total = 0.0
    for part, features in basis:
        total = total + features[(slice(None), *part.options(codes))] * part.runs(codes)
    return total.T
