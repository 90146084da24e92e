"""Cost tables fitted to whole networks find the table behind them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.regression import MIN_ROWS, fit_costs
from ofa.supernet.space import SearchSpace

TINY = SearchSpace.preset("tiny_mbv3")
# Stages with unlike choices, so the tables have holes; one resolution.
ODD = SearchSpace.from_dict(
    {
        "resolutions": [24],
        "stages": [
            {"width": 12, "stride": 2, "depths": [1, 3], "kernels": [1, 3, 5], "expands": [1, 2.5]},
            {"width": 20, "depths": [2], "kernels": [3], "expands": [2, 3, 6], "se": True},
        ],
    }
)


def device(space, *, seed=0, overhead=0.02, spread=0.2):
    """A made-up device: milliseconds by MACs and blocks, each option a bit off; never one of the fit's own features."""
    rng = np.random.default_rng(seed)
    macs = CostTable.macs(space, num_classes=10)
    ends, *blocks = macs.parts
    parts = [replace(ends, costs=ends.costs / 4e6 + 0.1)]
    for block in blocks:
        odd = 1 + spread * rng.standard_normal(block.costs.shape[1:])
        parts.append(replace(block, costs=overhead + block.costs / 2e6 * odd))
    return CostTable(space, "truth", "ms", tuple(parts))


def rows(space, count, *, seed=1, noise=0.0):
    rng = np.random.default_rng(seed)
    codes = space.sample(count, rng)
    return codes, device(space).predict(codes) * (1 + noise * rng.standard_normal(count))


def error(table, codes, truth):
    predicted = table.predict(codes)
    return np.mean(np.abs(predicted - truth) / truth), kendalltau(predicted, truth).statistic


@pytest.mark.parametrize("space", [TINY, ODD])
def test_unseen_networks_are_predicted(space):
    unseen, truth = rows(space, 500, seed=2)
    few, many = (fit_costs(space, *rows(space, count)) for count in (30, 400))
    assert error(few, unseen, truth)[0] < 0.1
    mape, tau = error(many, unseen, truth)
    assert mape < 0.03 and tau > 0.95 and mape < error(few, unseen, truth)[0]


def test_quality_is_what_unseen_networks_show():
    table = fit_costs(TINY, *rows(TINY, 300, noise=0.05), info={"source": "here"})
    unseen, truth = rows(TINY, 2000, seed=2, noise=0.05)
    mape, tau = error(table, unseen, truth)
    quality = table.info["quality"]
    assert quality["mape"] == pytest.approx(mape, rel=0.2) and quality["kendall_tau"] == pytest.approx(tau, abs=0.03)
    assert quality["fit_subnets"] == quality["test_subnets"] == 300 and quality["mape"] == min(
        quality["shapes"].values()
    )
    assert table.info["source"] == "here"
    json.dumps(table.info, allow_nan=False)


def test_noise_is_not_learnt_by_heart():
    """The same network measured a hundred times is no hundred networks: folds must not share it."""
    rng = np.random.default_rng(0)
    codes = np.repeat(TINY.sample(8, rng), 25, axis=0)
    values = np.repeat(rng.uniform(1, 3, 8), 25)  # of no use for another network
    quality = fit_costs(TINY, codes, values).info["quality"]
    assert quality["mape"] > 0.1


def test_relative_errors_count():
    """A device that is ten times slower at large images must not spoil the small ones."""
    codes, values = rows(TINY, 300)
    values = values * np.where(codes[:, 0] == 4, 10, 1)
    table = fit_costs(TINY, codes, values)
    small = codes[:, 0] < 4
    assert error(table, codes[small], values[small])[0] < 0.05


def test_the_table_is_whole_and_saved(tmp_path):
    table = fit_costs(ODD, *rows(ODD, 100), name="energy", unit="mJ")
    assert (table.name, table.unit, table.space) == ("energy", "mJ", ODD)
    counted = CostTable.macs(ODD, num_classes=2)
    assert [(part.genes, part.costs.shape) for part in table.parts] == [
        (part.genes, part.costs.shape) for part in counted.parts
    ]
    table.save(tmp_path / "table.json")
    codes = ODD.sample(100, np.random.default_rng(3))
    assert np.array_equal(CostTable.load(tmp_path / "table.json").predict(codes), table.predict(codes))


def test_same_rows_same_table():
    first, second = (fit_costs(ODD, *rows(ODD, 60), seed=5) for _ in range(2))
    assert all(np.array_equal(one.costs, other.costs) for one, other in zip(first.parts, second.parts, strict=True))
    assert first.info == second.info


def test_constant_costs():
    codes, _ = rows(ODD, 50)
    table = fit_costs(ODD, codes, np.full(50, 2.5))
    assert table.predict(codes) == pytest.approx(np.full(50, 2.5)) and table.info["quality"]["kendall_tau"] == 0


@pytest.mark.parametrize("count", [0, 1, MIN_ROWS - 1])
def test_too_few_rows(count):
    codes, values = rows(TINY, MIN_ROWS)
    fit_costs(TINY, codes, values)
    with pytest.raises(ValueError, match=f"{count} rows .* too few .*at least {MIN_ROWS}"):
        fit_costs(TINY, codes[:count], values[:count])


def test_too_few_networks():
    codes, values = rows(TINY, MIN_ROWS)
    with pytest.raises(ValueError, match="20 rows of 1 networks are too few"):
        fit_costs(TINY, np.repeat(codes[:1], MIN_ROWS, axis=0), values)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_costs_that_are_none(bad):
    codes, values = rows(TINY, 50)
    values[7] = bad
    with pytest.raises(ValueError, match="every latency must be a positive number"):
        fit_costs(TINY, codes, values)
