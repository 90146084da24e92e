"""Cost tables equal what is counted on real models, and the published figures."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes import torch as torch_runtime
from ofa.predictors.costs.table import CostTable
from ofa.supernet.presets import PRESETS
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet

# Stages with unlike choices (so the tables have holes), a ratio that is no whole number, a stem that keeps the size.
ODD = {
    "resolutions": [17, 24, 33],
    "stem": {"width": 8, "first_width": 12, "stride": 1},
    "stages": [
        {"width": 12, "stride": 2, "depths": [1, 3], "kernels": [1, 3, 5], "expands": [1, 2.5]},
        {"width": 20, "depths": [2], "kernels": [3], "expands": [2, 3, 6], "act": "swish", "se": True},
    ],
    "head": {"width": 24, "features": 40},
}
SPACES = {**{name: SearchSpace.preset(name) for name in PRESETS}, "odd": SearchSpace.from_dict(ODD)}
ODD_SPACE = SPACES["odd"]

# Rows of DyNAS-T's table of OFA MobileNetV3 subnets (width 1.0, resolution 224), spread over the file:
# depths, kernels, expands, parameters, MACs.
PUBLISHED = """\
2-2-2-2-2,3-3-3-3-3-5-3-3-5-3-7-7-7-5-3-5-5-5-3-5,3-3-4-6-3-3-3-4-3-3-4-6-3-3-3-3-3-4-3-3,3588304,129529712
2-3-2-2-2,3-3-3-5-5-5-5-7-5-3-3-3-5-5-3-5-5-3-5-5,3-4-4-4-3-3-4-4-4-3-4-3-4-3-3-3-4-4-6-3,3724720,155291968
3-4-2-3-3,3-3-5-5-5-3-5-5-5-7-3-5-3-5-7-5-7-3-3-5,4-4-4-3-3-3-4-3-3-3-4-4-6-3-4-4-4-4-3-4,4359544,228136832
2-2-2-2-4,3-3-7-7-3-5-7-3-5-7-5-5-3-5-3-3-5-3-7-7,3-3-3-3-3-3-3-4-4-4-4-4-4-4-3-4-6-4-4-3,4715736,174221184
3-3-3-3-3,3-5-7-3-5-5-5-3-5-3-5-5-7-3-5-3-7-3-5-3,4-6-4-4-3-6-6-3-4-4-4-6-4-4-6-3-4-4-4-3,4785144,286105536
3-3-2-2-3,5-3-5-5-5-3-5-3-5-3-3-5-5-5-5-7-5-7-7-5,3-3-4-4-4-3-3-6-3-3-4-4-4-3-3-3-4-4-4-3,4187704,184568224
3-3-3-4-3,5-5-5-5-5-3-3-5-3-5-5-5-5-5-7-5-7-5-5-5,6-4-6-6-6-3-4-6-6-6-4-4-6-4-6-4-6-3-4-4,5169640,329656256
3-3-2-4-3,5-7-5-7-5-5-7-3-7-5-7-5-5-7-3-3-5-3-5-5,3-4-4-4-3-6-6-6-4-3-6-3-3-4-4-6-4-4-4-6,4878120,280935744
4-3-3-3-3,7-3-7-5-3-5-5-5-5-5-5-5-3-5-7-7-7-5-5-7,6-6-6-4-4-4-4-6-4-3-4-3-3-4-4-3-6-4-3-4,4587920,315774720
4-4-4-4-4,7-5-3-7-7-3-3-7-3-5-5-3-5-7-7-3-5-5-7-5,6-6-4-4-6-6-6-3-4-4-6-3-4-6-4-4-6-6-6-6,6888432,419149472
4-4-4-4-4,7-5-5-7-7-3-7-7-7-5-5-3-5-7-7-3-5-7-7-5,6-6-4-4-3-6-4-3-4-4-4-3-6-6-4-4-6-6-6-6,6953088,416383904
4-4-3-4-4,7-5-7-5-7-7-7-7-3-5-5-5-5-3-7-3-5-7-3-3,6-6-4-4-6-6-4-3-6-4-6-3-4-4-4-4-6-6-6-6,6613056,409736096
3-3-4-3-4,7-7-7-7-7-7-7-3-7-5-5-7-5-7-5-5-7-7-5-7,4-4-4-4-6-4-4-6-6-4-4-6-4-4-3-6-6-4-6-6,6054768,338458144
""".splitlines()


def counted(model, resolution, in_chans):
    """(MACs, parameters) of a model, by hooks on convolutions and linear layers; the meta device runs shapes alone."""
    macs = 0

    def add(module, _inputs, output):
        nonlocal macs
        per_value = module.weight[0].numel()  # the weights that one output value sums over
        macs += output[0].numel() * per_value

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        model.to("meta")(torch.empty(1, in_chans, resolution, resolution, device="meta"))
    return macs, sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("num_classes, in_chans", [(1000, 3), (7, 1)])
def test_tables_equal_counts_on_extracted_models(name, num_classes, in_chans):
    space = SPACES[name]
    head = {"num_classes": num_classes, "in_chans": in_chans}
    macs, params = CostTable.macs(space, **head), CostTable.params(space, **head)
    net = Supernet(space, **head)
    codes = space.sample(4, np.random.default_rng(num_classes))
    codes = np.concatenate([codes, [space.encode(space.smallest), space.encode(space.largest)]])
    expected = [counted(net.extract(subnet), subnet.resolution, in_chans) for subnet in map(space.decode, codes)]
    assert [*zip(macs.predict(codes), params.predict(codes), strict=True)] == expected


@pytest.mark.parametrize("row", PUBLISHED)
def test_published_figures(row):
    space = SPACES["ofa_mbv3"]
    *choices, params, macs = row.split(",")
    subnet = Subnet(224, *(tuple(int(value) for value in choice.split("-")) for choice in choices))
    codes = space.encode(subnet)[None]
    assert CostTable.params(space, num_classes=1000).predict(codes) == [int(params)]
    assert CostTable.macs(space, num_classes=1000).predict(codes) == [int(macs)]


@pytest.mark.parametrize("combine, combined", [("sum", sum), ("max", max)])
def test_prediction_combines_active_blocks(combine, combined):
    rng = np.random.default_rng(0)
    plain = CostTable.macs(ODD_SPACE, num_classes=2)
    table = CostTable(
        ODD_SPACE,
        "made up",
        "",
        fixed=rng.random(plain.fixed.shape),
        blocks=np.where(np.isnan(plain.blocks), np.nan, rng.random(plain.blocks.shape)),
        slope=2.0,
        intercept=-0.5,
        combine=combine,
    )
    assert np.isnan(table.blocks).any()
    codes = ODD_SPACE.sample(300, rng)
    predicted = table.predict(codes)
    assert predicted.shape == (300,) and predicted.dtype == np.float64
    for code, value in zip(codes, predicted, strict=True):
        subnet = ODD_SPACE.decode(code)
        costs = [table.fixed[ODD_SPACE.resolutions.index(subnet.resolution)]]
        for number, slot in enumerate(ODD_SPACE.slots):
            if slot.index < subnet.depths[slot.stage]:
                stage = ODD_SPACE.stages[slot.stage]
                kernel = stage.kernels.index(subnet.kernels[number])
                expand = stage.expands.index(subnet.expands[number])
                costs.append(table.blocks[ODD_SPACE.resolutions.index(subnet.resolution), number, kernel, expand])
        assert value == pytest.approx(2 * combined(costs) - 0.5)


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_inactive_blocks_do_not_count_when_costs_are_negative(combine):
    plain = CostTable.macs(ODD_SPACE, num_classes=2)
    table = CostTable(ODD_SPACE, "a", "", -10 * plain.fixed, -plain.blocks, combine=combine)
    for subnet in (ODD_SPACE.smallest, ODD_SPACE.largest):
        assert table.predict(ODD_SPACE.encode(subnet)[None]) < 0


def test_unknown_combination():
    plain = CostTable.macs(ODD_SPACE, num_classes=2)
    with pytest.raises(ValueError, match="combine is 'mean'; it must be one of sum, max"):
        CostTable(ODD_SPACE, "a", "", plain.fixed, plain.blocks, combine="mean")


def test_inactive_blocks_cost_nothing():
    rng = np.random.default_rng(1)
    space = SPACES["tiny_mbv3"]
    codes = rng.integers(0, space.num_options, size=(500, space.num_genes)).astype(np.int8)
    table = CostTable.macs(space, num_classes=10)
    assert (codes != space.canonical(codes)).any()
    assert np.array_equal(table.predict(codes), table.predict(space.canonical(codes)))


def test_largest_and_smallest_are_the_ends():
    for name, space in SPACES.items():
        codes = space.sample(2000, np.random.default_rng(2))
        for table in (CostTable.macs(space, num_classes=10), CostTable.params(space, num_classes=10)):
            low, high = table.predict(np.stack([space.encode(space.smallest), space.encode(space.largest)]))
            assert low <= table.predict(codes).min() and table.predict(codes).max() <= high, name


def test_a_hundred_thousand_at_once():
    space = SPACES["ofa_mbv3"]
    codes, table = space.sample(100_000, np.random.default_rng(3)), CostTable.macs(space, num_classes=1000)
    predicted = table.predict(codes)
    assert predicted.shape == (100_000,)
    assert [table.predict(codes[[row]])[0] for row in range(0, 100_000, 9999)] == predicted[::9999].tolist()


@pytest.mark.parametrize("name", SPACES)
def test_save_and_load_are_exact(name, tmp_path):
    space = SPACES[name]
    plain = CostTable.macs(space, num_classes=10)
    arrays = {"fixed": plain.fixed / 3, "blocks": plain.blocks / 7}
    table = CostTable(space, "latency", "ms", **arrays, slope=1 / 3, intercept=0.1, info={"threads": 1, "a": [1]})
    table.save(tmp_path / "table.json")
    again = CostTable.load(tmp_path / "table.json")
    assert (again.space, again.name, again.unit, again.info) == (space, "latency", "ms", table.info)
    assert np.array_equal(again.fixed, table.fixed) and np.array_equal(again.blocks, table.blocks, equal_nan=True)
    codes = space.sample(1000, np.random.default_rng(4))
    assert np.array_equal(again.predict(codes), table.predict(codes))
    assert "NaN" not in (tmp_path / "table.json").read_text(), "NaN is not JSON"


def without(key):
    return lambda values: {name: value for name, value in values.items() if name != key}


@pytest.mark.parametrize(
    "damage",
    [
        *(without(key) for key in ("space", "fixed", "blocks", "name", "unit")),
        lambda values: {**values, "surprise": 1},
        lambda values: {**values, "combine": "mean"},
        lambda values: {**values, "info": [1]},
        lambda values: {**values, "info": {"runtime": ["onnxruntime"]}},
        lambda values: {**values, "fixed": values["fixed"][:-1]},
        lambda values: {**values, "blocks": values["blocks"][:-1]},
        lambda values: {**values, "blocks": [row[:-1] for row in values["blocks"]]},
        lambda values: {**values, "blocks": [values["blocks"][0][0], *values["blocks"][1:]]},
        lambda values: {**values, "fixed": ["a lot"] * len(values["fixed"])},
        lambda values: {**values, "space": {**values["space"], "resolutions": [24]}},
        lambda values: {**values, "space": {}},
        lambda values: [values],
        lambda _values: "a table",
    ],
)
def test_damaged_table_is_named(damage, tmp_path):
    path = tmp_path / "table.json"
    CostTable.macs(ODD_SPACE, num_classes=10).save(path)
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=r"table\.json is damaged"):
        CostTable.load(path)


def test_truncated_and_missing_table(tmp_path):
    path = tmp_path / "table.json"
    CostTable.macs(ODD_SPACE, num_classes=10).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"table\.json is damaged"):
        CostTable.load(path)
    with pytest.raises(FileNotFoundError):
        CostTable.load(tmp_path / "none.json")


def test_table_of_before_there_were_maxima(tmp_path):
    path, table = tmp_path / "table.json", CostTable.macs(ODD_SPACE, num_classes=10)
    table.save(path)
    path.write_text(json.dumps(without("combine")(json.loads(path.read_text()))))
    codes = ODD_SPACE.sample(50, np.random.default_rng(0))
    assert np.array_equal(CostTable.load(path).predict(codes), table.predict(codes))


HERE = {
    "onnxruntime": onnxruntime.environment(threads=3),
    "torch": torch_runtime.environment(threads=1),
    "torch, compiled": torch_runtime.environment(threads=2, device="cpu", compiled=True),
}


def timed(path, **info):
    plain = CostTable.macs(ODD_SPACE, num_classes=10)
    CostTable(ODD_SPACE, "latency", "ms", plain.fixed, plain.blocks, info={**info, "date": "2020-02-02"}).save(path)
    return path


@pytest.mark.parametrize("name", HERE)
def test_tables_of_this_machine_load_without_a_word(name, tmp_path):
    path = timed(tmp_path / "table.json", **HERE[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert CostTable.load(path).info["threads"] == HERE[name]["threads"]
        assert CostTable.load(path, environment=HERE[name], foreign=True).name == "latency"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"version": "0.0.1"}, ["version 0.0.1, here 1"]),
        ({"cpu": "Abacus", "version": "0.0.1"}, ["cpu Abacus, here ", "version 0.0.1"]),
        ({"runtime": "ncnn"}, ["runtime ncnn, which this version of ofa does not have"]),
        ({"runtime": "torch", "device": "cuda:99"}, ["cuda:99 is not there"]),
        ({"device": "tpu"}, ["with onnxruntime: "]),
    ],
)
def test_tables_of_elsewhere_load_only_when_asked(change, words, tmp_path):
    path = timed(tmp_path / "table.json", **{**HERE["onnxruntime"], **change})
    with pytest.raises(ValueError) as caught:
        CostTable.load(path)
    with pytest.warns(UserWarning) as warned:
        table = CostTable.load(path, foreign=True)
    assert table.info["date"] == "2020-02-02"
    for message in (str(caught.value), str(warned[0].message)):
        assert message.startswith(f"{path} was measured elsewhere: ") and all(word in message for word in words)
    assert "foreign=True" in str(caught.value)


def test_tables_are_held_to_what_they_are_loaded_for(tmp_path):
    path, wanted = timed(tmp_path / "table.json", **HERE["onnxruntime"]), onnxruntime.environment(threads=1)
    with pytest.raises(ValueError, match="threads 3, here 1"):
        CostTable.load(path, environment=wanted)
    with pytest.raises(ValueError, match="runtime onnxruntime, here torch"):
        CostTable.load(path, environment=HERE["torch"])


def test_a_runtime_that_is_not_installed(tmp_path, monkeypatch):
    def missing(_name):
        raise ImportError("no module")

    monkeypatch.setattr("ofa.predictors.costs.table.import_module", missing)
    with pytest.raises(ValueError, match="measured elsewhere: with torch, which is not installed here"):
        CostTable.load(timed(tmp_path / "table.json", **HERE["torch"]))


def test_counts_hold_everywhere(tmp_path):
    CostTable.macs(ODD_SPACE, num_classes=10).save(tmp_path / "macs.json")
    assert CostTable.load(tmp_path / "macs.json", environment=HERE["torch"]).name == "macs"
