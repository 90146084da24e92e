"""``ofa compare``: what it measures, and what it says of runs that cannot be compared."""

import json
import re
import shutil

import numpy as np
import pytest

from ofa.comparison.compared import ComparedTarget, open_runs, regret
from ofa.comparison.measures import Point, hypervolume, pareto_front
from ofa.pipeline.manifest import RunManifest


@pytest.mark.parametrize(
    ("points", "reference", "expected"),
    [
        ([], 2.0, 0.0),
        ([(1, 0.5)], 2.0, 0.25),  # nothing fits in the first half
        ([(1, 0.5), (1.5, 0.9)], 2.0, 0.5 * 0.25 + 0.9 * 0.25),
        ([(1, 0.5), (1.5, 0.4), (1, 0.3)], 2.0, 0.25),  # beaten ones add nothing
        ([(3, 0.9)], 2.0, 0.0),
    ],
)
def test_hypervolume(points, reference, expected):
    assert hypervolume([Point(*point) for point in points], reference=reference) == pytest.approx(expected)


def test_hypervolume_is_the_mean_of_the_best_inside_each_limit():
    rng = np.random.default_rng(0)
    points = [Point(*pair) for pair in rng.uniform(0, 1, (30, 2))]
    limits = (np.arange(10_000) + 0.5) / 10_000
    best = [max((point.accuracy for point in points if point.cost <= limit), default=0.0) for limit in limits]
    assert hypervolume(points, reference=1.0) == pytest.approx(np.mean(best), abs=1e-3)
    costs = [point.cost for point in pareto_front(points)]
    assert costs == sorted(costs)


@pytest.fixture
def other(copied):
    """A run whose only candidates but one are worse, and whose search took a minute."""
    path = copied / "report.json"
    report = json.loads(path.read_text())
    target = report["targets"]["phone"]
    target["measured"]["validation_accuracy"] -= 0.2
    target["candidates"] = [one for one in target["candidates"] if one["chosen"]]
    for one in target["candidates"]:
        one["measured"]["accuracy"] -= 0.2
    path.write_text(json.dumps(report))
    manifest = RunManifest(copied)
    manifest.finish("search", manifest.inputs("search"), [copied / "search" / "phone.json"], seconds=60.0)
    return copied.rename(copied.with_name("other"))


def test_a_table_and_a_page(call, finished, other, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = call("compare", finished.folder, other, "--out", page)
    assert code == 0, err
    rows = [line.split() for line in out.splitlines() if re.match(r"(run|other) +phone", line)]
    assert len(rows) >= 2 and {row[0] for row in rows} == {"run", "other"}
    assert "60.0 / " in out and "hypervolume" in out and "other images" not in out
    html = page.read_text()
    assert html.count("<figure>") == 1 and "run phone, measured" in html and "other phone, predicted" in html

    one, worse = (
        ComparedTarget(run, "phone", run.report.targets["phone"]) for run in open_runs([finished.folder, other])
    )
    accuracies = [accuracy for _, accuracy in one.networks()]
    best_inside = max(accuracy for costs, accuracy in one.networks() if costs["macs"] <= one.target.limits["macs"])
    assert accuracies[-1] == one.target.measured.validation_accuracy
    assert regret(worse, [one, worse]) == pytest.approx(best_inside - worse.target.measured.validation_accuracy)
    assert regret(one, [one, worse]) == pytest.approx(best_inside - accuracies[-1])
    assert f"{100 * regret(worse, [one, worse]):.1f}" in out
    volumes = [hypervolume(each.measured, reference=2e6) for each in (one, worse)]
    assert volumes[0] > volumes[1]


def test_other_images_are_said(call, finished, other, tmp_path):
    manifest = RunManifest(other)
    inputs = manifest.inputs("evaluate")
    inputs["data"] = {"train/cat": [1, "x"]}
    manifest.finish("evaluate", inputs, [other / "evaluation.json"], seconds=1)
    code, out, err = call("compare", finished.folder, other, "--out", tmp_path / "page.html")
    assert code == 0, err
    assert "other: other images than those of run, so accuracies" in " ".join(out.split())
    runs = open_runs([finished.folder, other])
    targets = [ComparedTarget(run, "phone", run.report.targets["phone"]) for run in runs]
    assert regret(targets[1], targets) == regret(targets[1], targets[1:])


def test_runs_of_one_name_are_told_apart(finished, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "elsewhere" / finished.folder.name)
    names = [run.name for run in open_runs([finished.folder, copy])]
    assert names == [f"{folder.parent.name}/{folder.name}" for folder in (finished.folder, copy)]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("none", "is not there|not a run folder"),
        ("no recipe", r"not a run folder \(it has no recipe.yaml\)"),
        ("no report", "this run has no report yet; `ofa run .*` goes on with it"),
        ("damaged", "report.json is damaged|report.json: "),
        ("twice", "is given twice; name each run once"),
    ],
)
def test_a_mistake_is_one_sentence(call, finished, copied, tmp_path, damage, words):
    if damage == "none":
        shutil.rmtree(copied)
    elif damage == "no recipe":
        (copied / "recipe.yaml").unlink()
    elif damage == "no report":
        (copied / "report.json").unlink()
    elif damage == "damaged":
        (copied / "report.json").write_text("{")
    given = finished.folder if damage == "twice" else copied
    code, out, err = call("compare", finished.folder, given, "--out", tmp_path / "page.html")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert re.search(words, err)
    assert not (tmp_path / "page.html").exists()
