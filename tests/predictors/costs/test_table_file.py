"""Cost tables on disk: exact, named when damaged, and those of the version before are read as they were."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet import families
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")
# Written by the version before parts: made-up costs of a space whose stages have unlike choices, and what it predicted.
FORMAT_1 = json.loads((Path(__file__).parents[2] / "golden" / "cost_tables_format_1.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", families.presets())
def test_save_and_load_are_exact(name, tmp_path):
    space, rng = SearchSpace.preset(name), np.random.default_rng(4)
    plain = CostTable.macs(space, num_classes=10)
    parts = tuple(replace(part, costs=part.costs / rng.uniform(3, 7)) for part in plain.parts)
    info = {"threads": 1, "a": [1]}
    table = CostTable(space, "latency", "ms", parts, slope=1 / 3, intercept=0.1, info=info, floor=0.3)
    table.save(tmp_path / "table.json")
    again = CostTable.load(tmp_path / "table.json")
    assert type(again) is CostTable
    assert (again.space, again.name, again.unit, again.info, again.floor) == (space, "latency", "ms", info, 0.3)
    codes = space.sample(1000, rng)
    assert np.array_equal(again.predict(codes), table.predict(codes))
    assert "NaN" not in (tmp_path / "table.json").read_text(), "NaN is not JSON"


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_format_1_predicts_to_the_last_bit_what_it_did(combine, tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(FORMAT_1[combine]["file"]))
    table = CostTable.load(path)
    codes = np.array([[*map(int, code)] for code in FORMAT_1["codes"]], np.int8)
    assert table.predict(codes).tolist() == FORMAT_1[combine]["costs"]
    assert table.info == {"bits": 32}
    table.save(path)  # in today's format
    assert json.loads(path.read_text())["format"] == 3
    assert CostTable.load(path).predict(codes).tolist() == FORMAT_1[combine]["costs"]


def without(key):
    return lambda values: {name: value for name, value in values.items() if name != key}


def with_part(**changes):
    """A change of the second part, which is a block."""

    def change(values):
        first, second, *rest = values["parts"]
        return {**values, "parts": [first, {**second, **changes}, *rest]}

    return change


def is_named(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=r"table\.json is damaged"):
        CostTable.load(path)


ANY_FORMAT = [
    *(without(key) for key in ("space", "name", "unit")),
    lambda values: {**values, "surprise": 1},
    lambda values: {**values, "format": 0},
    lambda values: {**values, "format": "2"},
    lambda values: {**values, "combine": "mean"},
    lambda values: {**values, "info": [1]},
    lambda values: {**values, "info": {"runtime": ["onnxruntime"]}},
    lambda values: {**values, "space": {**values["space"], "resolutions": [24]}},
    lambda values: {**values, "space": {}},
    lambda values: {**values, "space": []},
    lambda values: [values],
    lambda _values: "a table",
]


@pytest.mark.parametrize(
    "damage",
    [
        *ANY_FORMAT,
        without("parts"),
        without("format"),
        lambda values: {**values, "parts": []},
        lambda values: {**values, "parts": 3},
        lambda values: {**values, "parts": [*values["parts"], 3]},
        lambda values: {**values, "parts": [without("costs")(values["parts"][0])]},
        with_part(genes=[0, 1]),
        with_part(genes=[0, 1, 999]),
        with_part(genes=[0, 1, "2"]),
        with_part(genes=[0, 1, 1.5]),
        with_part(depth_gene=999),
        with_part(depth_gene="1"),
        with_part(min_option=None),
        with_part(costs=[[[1.0]]]),
        with_part(costs=[[1.0], [1.0, 2.0]]),
        with_part(costs="a lot"),
        with_part(costs=None),
    ],
)
def test_damaged_table_is_named(damage, tmp_path):
    path = tmp_path / "table.json"
    CostTable.macs(SPACE, num_classes=10).save(path)
    is_named(path, damage)


@pytest.mark.parametrize(
    "damage",
    [
        *ANY_FORMAT,
        *(without(key) for key in ("fixed", "blocks")),
        lambda values: {**values, "fixed": values["fixed"][:-1]},
        lambda values: {**values, "blocks": values["blocks"][:-1]},
        lambda values: {**values, "blocks": [row[:-1] for row in values["blocks"]]},
        lambda values: {**values, "blocks": [values["blocks"][0][0], *values["blocks"][1:]]},
        lambda values: {**values, "blocks": np.full(np.shape(values["blocks"]), None).tolist()},
        lambda values: {**values, "fixed": ["a lot"] * len(values["fixed"])},
    ],
)
def test_damaged_table_of_format_1_is_named(damage, tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(FORMAT_1["sum"]["file"]))
    is_named(path, damage)


def test_a_newer_format_says_so(tmp_path):
    path = tmp_path / "table.json"
    CostTable.macs(SPACE, num_classes=10).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 4}))
    with pytest.raises(ValueError, match=r"table\.json has format 4, and this version of ofa reads up to 3: install"):
        CostTable.load(path)


def test_truncated_and_missing_table(tmp_path):
    path = tmp_path / "table.json"
    CostTable.macs(SPACE, num_classes=10).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"table\.json is damaged"):
        CostTable.load(path)
    with pytest.raises(FileNotFoundError):
        CostTable.load(tmp_path / "none.json")


@pytest.mark.parametrize("key", ["combine", "floor", "slope", "intercept", "info"])
def test_tables_of_before_there_was_a_key(key, tmp_path):
    """Maxima and floors came later; the first tables had neither."""
    path = tmp_path / "table.json"
    plain = {"slope": 1.0, "intercept": 0.0, "floor": 0.0, "combine": "sum", "info": {}}
    file = {**FORMAT_1["sum"]["file"], **plain}
    path.write_text(json.dumps(file))
    codes = np.array([[*map(int, code)] for code in FORMAT_1["codes"]], np.int8)
    expected = CostTable.load(path).predict(codes)
    path.write_text(json.dumps(without(key)(file)))
    assert np.array_equal(CostTable.load(path).predict(codes), expected)
