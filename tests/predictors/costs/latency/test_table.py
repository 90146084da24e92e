"""A latency table of a very small space, measured for real."""

import json

import numpy as np
import pytest
from torch import nn

from ofa.export.runtimes import onnxruntime, torch
from ofa.predictors.costs import resolutions
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.latency import table as latency
from ofa.predictors.costs.latency import timer
from ofa.supernet.space import SearchSpace, Subnet

SPACE = SearchSpace.from_dict(
    {
        "resolutions": [16, 24, 32, 48, 64, 80, 96],
        "stem": {"width": 8, "first_width": 8},
        "stages": [
            {"width": 16, "stride": 2, "depths": [1, 3], "kernels": [3], "expands": [1, 6]},
            {"width": 24, "stride": 2, "depths": [1], "kernels": [3, 5], "expands": [2], "se": True},
        ],
        "head": {"width": 32, "features": 32},
    }
)


def changed(space, **fields):
    return SearchSpace.from_dict({**space.to_dict(), **fields})


RUNTIMES = {"onnxruntime": onnxruntime, "torch": torch}


@pytest.fixture(scope="module", params=RUNTIMES)
def table(request):
    runtime = RUNTIMES[request.param]
    return latency.measure(
        SPACE, num_classes=4, runtime=runtime, rounds=6, fit_subnets=6, test_subnets=5, info={"mark": 1}, progress=False
    )


def test_says_what_it_holds_for(table):
    assert (table.name, table.unit, table.space) == ("latency", "ms", SPACE)
    info = table.info
    assert info["runtime"] in RUNTIMES and info["threads"] == 1 and info["rounds"] == 6 and info["mark"] == 1
    assert {"version", "cpu", "date"} <= set(info)
    sides = info["measured_resolutions"]
    assert len(sides) == 5 and (sides[0], sides[-1]) == (16, 96)
    # Per resolution: stem, head, first block (2 ratios), the two equal ones after it (2), second stage (2 kernels).
    assert info["blocks"] == 5 * (1 + 1 + 2 + 2 + 2)


def test_quality_is_of_subnets_that_the_fit_has_not_seen(table):
    quality = table.info["quality"]
    assert set(quality) == {
        "test_subnets",
        "fit_subnets",
        "mape",
        "kendall_tau",
        "repeat_mape",
        "repeat_kendall_tau",
        "pairs",
    }
    predicted, measured = np.transpose(quality["pairs"])
    assert np.mean(np.abs(predicted - measured) / measured) == pytest.approx(quality["mape"])
    assert (quality["fit_subnets"], quality["test_subnets"]) == (6, 5)
    assert 0 <= quality["mape"] < 1 and 0 <= quality["repeat_mape"] < 1
    # The largest of these networks costs dozens of times the smallest, so that even a busy machine ranks them; torch
    # takes nearly the same time for all.
    if table.info["runtime"] == "onnxruntime":
        assert 0.3 < quality["kendall_tau"] <= 1 and 0.3 < quality["repeat_kendall_tau"] <= 1


def test_larger_is_slower(table):
    codes = SPACE.sample(200, np.random.default_rng(0))
    predicted = table.predict(codes)
    assert (predicted > 0).all() and np.isfinite(predicted).all()
    low, high = table.predict(np.stack([SPACE.encode(SPACE.smallest), SPACE.encode(SPACE.largest)]))
    # Of torch's time most is spent on starting operators, however small.
    ratio = {"onnxruntime": 4, "torch": 1.5}[table.info["runtime"]]
    assert low > 0 and ratio * low < high < 1000
    correlation = np.corrcoef(predicted, CostTable.macs(SPACE, num_classes=4).predict(codes))[0, 1]
    assert correlation > 0.8 or ratio < 4  # of torch it is next to noise


def test_save_and_load(table, tmp_path):
    table.save(tmp_path / "table.json")
    again = CostTable.load(tmp_path / "table.json")
    codes = SPACE.sample(200, np.random.default_rng(1))
    assert np.array_equal(again.predict(codes), table.predict(codes)) and again.info == table.info


def test_fewer_networks_than_wanted():
    stage = {"width": 8, "depths": [1], "kernels": [3], "expands": [2]}
    one, two = (changed(SPACE, resolutions=sides, stages=[stage]) for sides in ([16], [16, 96]))
    for space, shares in ((two, (1, 1)), (one, (1, 0))):
        table = CostTable.latency(space, num_classes=2, in_chans=1, rounds=3, progress=False)
        quality = table.info["quality"]
        assert (quality["fit_subnets"], quality["test_subnets"]) == shares
        assert quality["kendall_tau"] is None and (quality["mape"] is None) == (shares[1] == 0)
        assert (table.predict(space.sample(5, np.random.default_rng(0))) > 0).all()
        json.dumps(table.info, allow_nan=False)


def test_interpolation_is_exact_where_measured_and_linear_in_area_between():
    rng = np.random.default_rng(2)
    measured = resolutions.measured_resolutions(SPACE)
    assert len(measured) == resolutions.MAX_RESOLUTIONS and set(measured) < set(SPACE.resolutions)
    rows = [SPACE.resolutions.index(resolution) for resolution in measured]
    fixed, blocks = rng.random(5), rng.random((5, 2, 2))
    all_fixed, all_blocks = (resolutions.along_area(SPACE, measured, values) for values in (fixed, blocks))
    assert all_fixed.shape == (7,) and all_blocks.shape == (7, 2, 2)
    assert np.array_equal(all_fixed[rows], fixed) and np.array_equal(all_blocks[rows], blocks)

    areas, all_areas = np.square(measured), np.square(SPACE.resolutions)
    all_fixed, all_blocks = (
        resolutions.along_area(SPACE, measured, one) for one in (3.0 + 2 * areas, np.ones((5, 2, 2)))
    )
    assert all_fixed == pytest.approx(3.0 + 2 * all_areas) and (all_blocks == 1).all()


def test_few_resolutions_are_all_measured():
    assert resolutions.measured_resolutions(changed(SPACE, resolutions=[16, 96])) == (16, 96)
    five = changed(SPACE, resolutions=[16, 24, 32, 40, 96])
    assert resolutions.measured_resolutions(five) == five.resolutions


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_shape_of_a_part_has_a_time_of_its_own(name, monkeypatch):
    """With a clock that tells pixels instead of time."""
    runtime, asked = RUNTIMES[name], []

    def bind(_session, shape):
        asked.append(shape)
        return lambda: shape

    monkeypatch.setattr(runtime, "bind", bind)
    monkeypatch.setattr(
        timer, "interleaved", lambda calls, **_: np.array([[call()[-1] ** 2 * 1e-3 for call in calls]] * 4)
    )
    module = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    models = [(runtime.convert(module, (3, side, side)), (3, side, side)) for side in (8, 16)]
    times = timer.in_this_process(runtime, threads=1)([*models, *models], rounds=4)
    assert times[0].tolist() == [64, 256, 64, 256] and len(asked) == 2


def test_whole_networks_are_timed_at_the_pace_of_the_table():
    """A timer of a machine that is three times slower than when the table was made."""
    subnets = [SPACE.smallest, SPACE.largest]
    middle = SPACE.decode(SPACE.sample(1, np.random.default_rng(0))[0])

    def timer(models, *, rounds, **_):
        return np.array([[3.0 * shape[-1] for _, shape in models]] * rounds)

    options = {"num_classes": 4, "timer": timer}
    plain = latency.time_subnets(SPACE, subnets, **options)
    reference = {"subnet": middle.to_dict(), "ms": float(middle.resolution)}
    assert plain == pytest.approx([3 * subnet.resolution for subnet in subnets])
    paced = latency.time_subnets(SPACE, subnets, **options, reference=reference)
    assert paced == pytest.approx([subnet.resolution for subnet in subnets])


def test_a_table_has_a_reference_network(table):
    reference = table.info["reference"]
    assert reference["ms"] > 0 and Subnet.from_dict(reference["subnet"]).resolution in SPACE.resolutions
