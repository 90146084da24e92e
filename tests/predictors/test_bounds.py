"""Predictions that cannot be: never given, and no two networks change places."""

from dataclasses import replace

import numpy as np
import pytest

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.bounds import above_zero, between, limits_of
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.regression import fit_costs
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")


def test_costs_stay_above_zero_and_in_order():
    values = np.sort(np.random.default_rng(0).normal(0, 3, 500))
    bent = above_zero(values, 0.5)
    assert (bent > 0).all() and (np.diff(bent) > 0).all()
    assert (bent[values >= 0.5] == values[values >= 0.5]).all()
    assert above_zero(np.array([-1e9]), 0.5) > 0
    assert (above_zero(values, 0.0) == values).all()


@pytest.mark.parametrize("measured", [(0.2, 0.9), (0.0, 1.0), (0.95, 0.95), (0.0, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize("unit", [1, 100])
def test_accuracies_stay_inside_and_in_order(measured, unit):
    values = unit * np.linspace(-0.3, 1.3, 161)
    bent = between(values, (0, unit), tuple(unit * value for value in measured))
    assert (bent >= 0).all() and (bent <= unit).all() and (np.diff(bent) >= 0).all()
    inside = (values >= unit * max(measured[0], 0.001)) & (values <= unit * min(measured[1], 0.999))
    assert bent[inside] == pytest.approx(values[inside])
    near = (values > -0.01 * unit) & (values < 1.01 * unit)
    assert (np.diff(bent[near]) > 0).all()


def test_the_unit_is_that_of_what_was_measured():
    assert limits_of(np.array([0.0, 1.0])) == (0, 1)
    assert limits_of(np.array([0.5, 70.0])) == (0, 100)
    assert limits_of(np.array([-0.1, 0.5])) is limits_of(np.array([1.0, 101.0])) is None


@pytest.mark.parametrize("unit", [1, 100])
@pytest.mark.parametrize("kind", ["gp", "mlp", "trees"])
def test_no_network_is_predicted_above_all_right(kind, unit, tmp_path):
    """Accuracies near 1 with a steep slope, extrapolated to larger networks than were measured."""
    rng, codes = np.random.default_rng(0), SPACE.sample(400, np.random.default_rng(1))
    size = CostTable.macs(SPACE, num_classes=10).predict(codes)
    order = np.argsort(size)
    measured = 0.75 + 0.25 * (size - size.min()) / np.quantile(size, 0.5) / 2
    small = order[:40]
    fitted = AccuracyPredictor(SPACE, kind=kind, seed=0)
    accuracy = np.clip(measured[small] + rng.normal(0, 0.002, 40), 0, 1)
    fitted.fit(codes[small], unit * accuracy)
    raw = AccuracyPredictor(SPACE, kind=kind, seed=0).fit(codes[small], unit * accuracy)
    raw.limits_ = None
    wild, tame = raw.predict(codes), fitted.predict(codes)
    assert (tame >= 0).all() and (tame <= unit).all()
    if kind != "trees":  # which do not extrapolate
        assert wild.max() > accuracy.max() * unit
    assert (np.argsort(wild, kind="stable") == np.argsort(tame, kind="stable")).all()
    fitted.save(tmp_path)
    assert (AccuracyPredictor.load(tmp_path).predict(codes) == tame).all()


def test_what_is_no_accuracy_is_not_bent():
    codes = SPACE.sample(30, np.random.default_rng(0))
    losses = -np.linspace(1, 2, 30)
    predictor = AccuracyPredictor(SPACE).fit(codes, losses)
    assert predictor.limits_ is None and np.isfinite(predictor.predict(codes)).all()


def test_no_network_is_predicted_to_take_no_time(tmp_path):
    """Latencies of large networks only, so that the regression's line is below zero where it meets small ones."""
    codes = SPACE.sample(600, np.random.default_rng(0))
    macs = CostTable.macs(SPACE, num_classes=10).predict(codes)
    large = np.argsort(macs)[-60:]
    table = fit_costs(SPACE, codes[large], (macs[large] - 0.95 * macs[large].min()) / 1e6)
    raw = replace(table, floor=0.0)
    assert raw.predict(codes).min() < 0
    predicted = table.predict(codes)
    assert (predicted > 0).all()
    assert (np.argsort(predicted, kind="stable") == np.argsort(raw.predict(codes), kind="stable")).all()
    table.save(tmp_path / "table.json")
    assert (CostTable.load(tmp_path / "table.json").predict(codes) == predicted).all()
    parts = tuple(replace(part, costs=np.zeros_like(part.costs)) for part in table.parts)
    negative = CostTable(SPACE, "latency", "ms", parts, intercept=-1e6, floor=0.01)
    assert (negative.predict(codes) > 0).all()
