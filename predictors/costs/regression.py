"""A cost table from whole networks that were measured elsewhere: regression on what their blocks do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from ofa.predictors.blas import one_blas_thread
from ofa.predictors.costs.table import CostTable, table_shape
from ofa.predictors.metrics import folds_of, kendall_tau, networks_of
from ofa.supernet.space import SearchSpace

MIN_ROWS = 20
_FOLDS = 5

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
) -> CostTable:
    """The table that best predicts ``values`` ``(n,)``, positive and in ``unit``, of the networks ``codes``.

    Ridge regression of relative errors on sums over blocks (how many, their MACs, weights and activations: of the whole
    network, each resolution, stage, slot and option). How free each of these is, and the penalty, are chosen by
    cross-validation; rows of one network stay on one side of it.

    ``info["quality"]`` has the cross-validated ``mape`` and ``kendall_tau``, the number of ``rows``, and the ``mape``
    of each shape that was tried. Raises ``ValueError`` below 20 rows of 5 networks, and for values not positive.
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
    fixed, blocks, groups = _basis(space)
    inputs = _sums(space, fixed, blocks, codes)
    folds = folds_of(networks, _FOLDS, seed)
    tried: dict[tuple[str, float], np.ndarray] = {}
    for shape, penalty in product(_SHAPES, _PENALTIES):
        predicted = np.empty(len(values))
        for out in (folds == number for number in range(_FOLDS)):
            coefficients, intercept = _ridge(inputs[~out], values[~out], groups, _SHAPES[shape], penalty)
            predicted[out] = inputs[out] @ coefficients + intercept
        tried[shape, penalty] = predicted
    errors = {key: float(np.mean(np.abs(predicted - values) / values)) for key, predicted in tried.items()}
    best = min(errors, key=errors.__getitem__)
    coefficients, intercept = _ridge(inputs, values, groups, _SHAPES[best[0]], best[1])
    quality = {
        "rows": len(values),
        "mape": errors[best],
        "kendall_tau": kendall_tau(tried[best], values),
        "shape": best[0],
        "shapes": {shape: min(errors[shape, penalty] for penalty in _PENALTIES) for shape in _SHAPES},
    }
    table = np.tensordot(coefficients, blocks, axes=1)
    table[~_exists(space)] = np.nan
    return CostTable(
        space,
        name,
        unit,
        coefficients @ fixed,
        table,
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


def _basis(space: SearchSpace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features as small cost tables: fixed ``(features, resolutions)``, blocks ``(features, ...)``, groups."""
    rows = list(_features(space))
    fixed, blocks, groups = (list(column) for column in zip(*rows, strict=True))
    return np.stack(fixed), np.stack(blocks), np.array(groups)


def _features(space: SearchSpace) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    shape = table_shape(space)
    fixed_zero, blocks_zero = np.zeros(shape[0]), np.zeros(shape)
    area = np.square(space.resolutions) / space.resolutions[-1] ** 2
    exists = _exists(space).astype(float)
    macs, live, flash = (
        np.nan_to_num(table.blocks) / np.nanmean(table.blocks)
        for table in (getattr(CostTable, name)(space, num_classes=2) for name in ("macs", "peak_memory", "flash"))
    )
    works = [exists, macs, live, flash]
    yield np.ones(shape[0]), blocks_zero, 0
    yield area, blocks_zero, 0
    for work in (*works, exists * area[:, None, None, None]):
        yield fixed_zero, work, 0
    for row in np.eye(shape[0]):
        yield row, blocks_zero, 1
        yield fixed_zero, macs * row[:, None, None, None], 1
    stages = np.array([slot.stage for slot in space.slots])
    for number in range(len(space.stages)):
        for work in works:
            yield fixed_zero, work * (stages == number)[:, None, None], 2
    for slot in np.eye(shape[1]):
        here = [work * slot[:, None, None] for work in works[:3]]
        for work in here:
            yield fixed_zero, work, 3
        for work in here[:2]:
            for kernel in np.eye(shape[2]):
                yield fixed_zero, work * kernel[:, None], 4
            for expand in np.eye(shape[3]):
                yield fixed_zero, work * expand, 4


def _exists(space: SearchSpace) -> np.ndarray:
    """Which entries of ``CostTable.blocks`` are options of their stage."""
    return np.isfinite(CostTable.params(space, num_classes=2).blocks)


def _sums(space: SearchSpace, fixed: np.ndarray, blocks: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Each feature of each network ``(n, features)``."""
    resolutions, active = codes[:, 0].astype(np.intp), space.active(codes)
    kernels, expands = codes[:, space.kernel_genes], codes[:, space.expand_genes]
    total = fixed[:, resolutions].copy()
    for slot in range(len(space.slots)):
        total += blocks[:, resolutions, slot, kernels[:, slot], expands[:, slot]] * active[:, slot]
    return total.T
