"""Tables of times hold where they were measured, and say so elsewhere."""

import warnings
from dataclasses import replace

import pytest

from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes import torch as torch_runtime
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")

HERE = {
    "onnxruntime": onnxruntime.environment(threads=3),
    "torch": torch_runtime.environment(threads=1),
    "torch, compiled": torch_runtime.environment(threads=2, device="cpu", compiled=True),
}


def timed(path, **info):
    plain = CostTable.macs(SPACE, num_classes=10)
    replace(plain, name="latency", unit="ms", info={**info, "date": "2020-02-02"}).save(path)
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

    monkeypatch.setattr("ofa.export.runtimes.import_module", missing)
    with pytest.raises(ValueError, match="measured elsewhere: with torch, which is not installed here"):
        CostTable.load(timed(tmp_path / "table.json", **HERE["torch"]))


def test_counts_hold_everywhere(tmp_path):
    CostTable.macs(SPACE, num_classes=10).save(tmp_path / "macs.json")
    assert CostTable.load(tmp_path / "macs.json", environment=HERE["torch"]).name == "macs"
