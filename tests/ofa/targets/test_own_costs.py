"""`targets.X.costs: FILE`: latencies measured elsewhere take the place of a measurement, and nothing is invented."""

import csv
import json
import shutil

import numpy as np
import pytest

from ofa.config.recipe_file import load_recipe
from ofa.errors import UserError
from ofa.predictors.costs.cost_table import CostTable
from ofa.targets.own_costs import how_good, identity, own_table

HEAD = {"num_classes": 10, "in_chans": 1}


@pytest.fixture(scope="module")
def costs(small, tmp_path_factory):
    """A CSV file of 60 networks of the small space: a latency in ms that follows the MACs."""
    space = load_recipe(small).space
    codes = np.unique(space.sample(60, np.random.default_rng(0)), axis=0)
    macs = CostTable.macs(space, **HEAD).predict(codes)
    path = tmp_path_factory.mktemp("costs") / "npu.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["resolution", "depths", "kernels", "expands", "latency"])
        for code, cost in zip(codes, macs, strict=True):
            net = space.decode(code)
            joined = ["-".join(map(str, values)) for values in (net.depths, net.kernels, net.expands)]
            writer.writerow([net.resolution, *joined, 1 + cost / 1e5])
    return path


@pytest.mark.usefixtures("quick_models")
def test_a_target_with_costs_of_its_own(call, ran, small, finished, tmp_path, costs):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    path = tmp_path / "npu.csv"
    shutil.copy(costs, path)
    space = load_recipe(small).space
    table = own_table(space, path, **HEAD, seed=0)
    most = float(np.median(table.predict(space.sample(100, np.random.default_rng(1)))))
    given = f"targets.npu={{costs: {path}, limits: {{latency_ms: {most}}}}}"
    code, out, err = call("run", folder, "--set", given, "--update")
    assert code == 0, err
    assert "train" not in ran(out)
    assert "latency of onnxruntime float32 with the costs of npu.csv: error " in " ".join(out.split())
    assert " on held-out rows of " in " ".join(out.split())

    saved = json.loads((folder / "costs" / "npu.json").read_text())
    assert (saved["name"], saved["unit"], saved["info"]["file"]) == ("latency", "ms", "npu.csv")
    found = json.loads((folder / "search" / "npu.json").read_text())
    assert found["predicted"]["latency"] <= most
    assert all("latency" not in one["measured"] for one in found["candidates"])
    report = json.loads((folder / "report.json").read_text())
    assert "latency" not in report["targets"]["npu"]["measured"]
    assert "latency" in report["targets"]["phone"]["measured"]
    text = (folder / "report.md").read_text()
    assert "as `npu.csv` says" in text
    assert "not measured here" in text
    assert "npu" in out

    # What the file says is part of what the stage is made from.
    assert ran(call("run", folder)[1]) == ran("")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    code, _, err = call("run", folder)
    assert code == 2 and f"`ofa run {folder} --update` (measure, search" in err
    assert ran(call("run", folder, "--update")[1])[:1] == ["measure"]


def test_limits_are_told_before_training(call, small, costs):
    code, _, err = call("check", small, "--set", f"targets.npu={{costs: {costs}, limits: {{latency_ms: 0.5}}}}")
    assert code == 2
    assert err.startswith("targets.npu: limit latency 0.5 ms: every subnet costs more")


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("none.csv", None, "is not there; give a .csv file, or look-up tables"),
        ("a.txt", b"x", "is neither a .csv file nor a look-up table"),
        ("a.csv", b"", "line 1: the columns resolution, depths"),
        ("a.csv", b"resolution,depths,kernels,expands,latency\n1,2\n", "line 2: it has another number of columns"),
        ("a.csv", b'"' + b"x" * 200_000, "line "),
        ("a.csv", b"resolution,depths,kernels,expands,latency\n", "has no rows"),
        ("a.yaml", b"a: &a [x]\nb: *a\n", "is no YAML file"),
        ("a.yaml", b"a: " + 5000 * b"[", "is no YAML file"),
        ("a.yaml", b"\xff\xfe\0", "is no YAML file"),
    ],
)
def test_files_that_are_no_costs(small, tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        own_table(load_recipe(small).space, tmp_path / name, **HEAD, seed=0)
    assert str(caught.value).startswith(f"costs: {tmp_path / name}")
    assert words in str(caught.value)


def test_what_does_not_go_together(call, small, costs):
    target = f"targets.phone={{runtime: litert, remote: adb, costs: {costs}, limits: {{latency_ms: 3}}}}"
    with pytest.raises(UserError, match=r"targets\.phone\.costs: costs from a file are not timed on another device"):
        load_recipe(small, overrides=[target])


def test_a_folder_of_look_up_tables(small, tmp_path):
    with pytest.raises(UserError, match="has no look-up table"):
        own_table(load_recipe(small).space, tmp_path, **HEAD, seed=0)
    (tmp_path / "16.yaml").write_text("x: {mean: 1}")
    first = identity(tmp_path)
    (tmp_path / "16.yaml").write_text("x: {mean: 2}")
    assert identity(tmp_path) != first
    assert how_good({"mape": None}) == "look-up tables, without networks to check them on"
