"""A whole run, from the command to the files: what it leaves, what it skips, what it makes anew."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from ofa.config.recipe_file import load_recipe
from ofa.data.loader import open_data
from ofa.pipeline import subnet_csv
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.costs.cost_table import CostTable
from ofa.stages import STAGES
from ofa.supernet.saving import load_subnet
from ofa.supernet.space import Subnet
from ofa.targets import model_files

FILES = [
    *("accuracy.csv", "evaluation.json", "recipe.yaml", "run.json", "run.copy.json"),
    *("report.html", "report.json", "report.md"),
    *(f"train/checkpoint-0000000{steps}.safetensors" for steps in (34, 51, 68)),  # the last three of four epochs
    *("train/metrics.jsonl", "supernet/weights.safetensors"),
    *("predictor/predictor.json", "predictor/predictor.npz", "predictor/quality.json"),
    *("costs/phone.json", "search/phone.json", "models/phone/model.onnx", "models/phone/verify.json"),
    *("finetune/phone.json", "finetune/NETWORK/weights.safetensors", "finetune/NETWORK/metrics.jsonl"),
    *(
        "models/phone/subnet.json",
        "models/phone/weights.safetensors",
        "models/phone/labels.txt",
        "models/phone/card.md",
    ),
]


@pytest.fixture(scope="module")
def report(finished) -> dict:
    return json.loads((finished.folder / "report.json").read_text())


@pytest.fixture(scope="module")
def recipe(small):
    return load_recipe(small)


@pytest.fixture(scope="module")
def data(recipe):
    return open_data(recipe.data, resolution=recipe.space.resolutions[-1], seed=recipe.seed)


# -- what a run leaves ------------------------------------------------------------------------------------------------


def test_every_artefact_is_there_and_nothing_else(finished, ran):
    files = sorted(str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file())
    network = json.loads((finished.folder / "finetune" / "phone.json").read_text())["network"]
    assert files == sorted(name.replace("NETWORK", network) for name in FILES)
    assert ran(finished.out) == [name for name in STAGES if name != "relax"]
    assert finished.err == ""  # bars are for terminals


def test_rows_and_quality(finished, recipe):
    rows = list(csv.DictReader((finished.folder / "accuracy.csv").open()))
    assert len(rows) == len({tuple(row.values())[:4] for row in rows}) == recipe.collect.subnets
    quality = json.loads((finished.folder / "predictor" / "quality.json").read_text())
    assert {"kendall_tau", "rmse", "calibration"} <= quality.keys()
    out = " ".join(finished.out.split())
    assert f"Kendall tau {quality['kendall_tau']:.2f}, RMSE {100 * quality['rmse']:.2f} points" in out


def test_limits_hold_and_predictions_are_the_tables_and_predictors(finished, report, recipe):
    space, target = recipe.space, report["targets"]["phone"]
    code = space.encode(Subnet.from_dict(target["subnet"]))[None]
    macs = CostTable.macs(space, num_classes=10, in_chans=1)
    largest = float(macs.predict(space.encode(space.largest)[None])[0])
    assert target["limits"] == {"macs": pytest.approx(0.8 * largest)}
    assert target["predicted"]["macs"] == macs.predict(code)[0] <= target["limits"]["macs"]
    table = CostTable.load(finished.folder / "costs" / "phone.json")
    assert target["predicted"]["latency"] == pytest.approx(table.predict(code)[0])
    predictor = AccuracyPredictor.load(finished.folder / "predictor")
    accuracy, deviation = predictor.predict(code, return_std=True)
    assert target["predicted"]["accuracy"] == pytest.approx(accuracy[0])
    assert target["predicted"]["accuracy_std"] == pytest.approx(deviation[0])


def test_metadata_of_the_model(finished, report, data):
    model = onnx.load(finished.folder / "models" / "phone" / "model.onnx")
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    subnet = report["targets"]["phone"]["subnet"]
    assert metadata["classes"] == [str(digit) for digit in range(10)]
    assert (metadata["resolution"], metadata["subnet"]) == (subnet["resolution"], subnet)
    assert (metadata["mean"], metadata["std"]) == (list(data.mean), list(data.std))
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["input", "logits"]


def test_reported_accuracies_are_what_the_file_scores(finished, report, data):
    """By the file alone: its metadata says how to prepare the images."""
    path = finished.folder / "models" / "phone" / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    mean, std = (np.array(metadata[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    measured = report["targets"]["phone"]["measured"]
    for split in ("validation", "test"):
        right = count = 0
        for images, labels in data.split_batches(split, resolution=metadata["resolution"]):
            pixels = (images.numpy().astype(np.float32) / 255 - mean) / std
            right += int((session.run(["logits"], {"input": pixels})[0].argmax(1) == labels.numpy()).sum())
            count += len(labels)
        assert measured[f"{split}_accuracy"] == right / count
        assert report["data"]["images"][split] == count


def test_the_model_was_verified_and_loads_as_timms(finished, report):
    folder = finished.folder / "models" / "phone"
    verify = json.loads((folder / "verify.json").read_text())
    assert verify["images"] == model_files.VERIFY_IMAGES
    assert verify["largest_difference"] <= 1e-3 * verify["range"]
    assert verify["equal_predictions"] >= 0.999
    assert (verify["runtime"], verify["version"]) == ("onnxruntime", onnxruntime.__version__)
    del verify["format"]  # of that file alone
    assert verify == report["targets"]["phone"]["verified"]
    model = load_subnet(folder)
    assert type(model).__module__ == "timm.models.mobilenetv3"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == report["targets"]["phone"]["predicted"]["params"]


def test_the_best_collected_network_inside_the_limits_is_a_candidate(finished, report, recipe):
    codes, scores = subnet_csv.read_scores(finished.folder / "accuracy.csv", recipe.space)
    macs = CostTable.macs(recipe.space, num_classes=10, in_chans=1).predict(codes)
    inside = macs <= report["targets"]["phone"]["limits"]["macs"]
    assert 0 < inside.sum() < len(codes)
    best = recipe.space.decode(codes[inside][np.argmax(scores.smoothed_accuracy[inside])])
    candidates = {one["id"]: one for one in report["targets"]["phone"]["candidates"]}
    assert best.id in candidates and 2 <= len(candidates) <= recipe.search.candidates + 1
    chosen = next(one for one in candidates.values() if one["chosen"])
    measured = [one["measured"] for one in candidates.values() if "accuracy" in one["measured"]]
    assert chosen["value"] == max(one["value"] for one in candidates.values() if "value" in one)
    assert all(one["loss"] > 0 and 0 < one["smoothed_accuracy"] < 1 for one in measured)


def test_candidates_can_be_compared_by_accuracy_alone(call, copied):
    keys = ["--set", "search.choose_by=measured", "--set", "predictor.target=accuracy", "--update"]
    for stage in ("predict", "search"):
        code, _, err = call(stage, copied, *keys)
        assert code == 0, err
    candidates = json.loads((copied / "search" / "phone.json").read_text())["candidates"]
    values = {one["id"]: one["value"] for one in candidates if "value" in one}
    assert values == {one["id"]: one["measured"]["accuracy"] for one in candidates if "accuracy" in one["measured"]}
    assert [one["value"] for one in candidates if one["chosen"]] == [max(values.values())]
    assert json.loads((copied / "predictor" / "quality.json").read_text())["target"] == "accuracy"


# -- running again ----------------------------------------------------------------------------------------------------


def test_a_finished_run_says_so_without_torch(finished, small):
    before = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    code = (
        f"import sys\nfrom ofa.cli import main\nmain(['run', {str(small)!r}, '--out', {str(finished.folder)!r}])\n"
        "print([name for name in ('torch', 'timm', 'sklearn', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=10)
    first, *table, modules = done.stdout.splitlines()
    assert first == f"{finished.folder}: nothing to do, all stages are finished"
    assert modules == "[]"
    assert "\n".join(table).strip() in finished.out
    assert before == {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}


def test_another_seed_differs(call, finished, small, tmp_path):
    for stage in ("train", "collect"):
        assert call(stage, small, "--out", tmp_path / "run", "--set", "seed=1")[0] == 0
    for name in ("accuracy.csv", "supernet/weights.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() != (finished.folder / name).read_bytes()


@pytest.mark.usefixtures("quick_models")
def test_another_recipe_needs_update_which_runs_only_what_it_changes(call, ran, copied, small):
    changes = ["--set", "targets.phone.limits.macs=0.6x"]
    before = (copied / "run.json").read_bytes()
    code, out, err = call("run", small, "--out", copied, *changes, "--set", "seed=3")
    assert (code, out) == (2, "")
    named = 'seed: 0, now 3; targets.phone.limits.macs: "0.8x", now "0.6x"'
    assert err.startswith(f"{copied} belongs to another recipe ({named}); give another folder with --out, or --update")
    assert (copied / "run.json").read_bytes() == before

    code, out, err = call("run", small, "--out", copied, *changes, "--update")
    assert (code, ran(out)) == (0, ["search", "finetune", "export", "evaluate", "report"]), err
    target = json.loads((copied / "report.json").read_text())["targets"]["phone"]
    assert target["predicted"]["macs"] <= target["limits"]["macs"]
    assert call("run", copied)[1].startswith(f"{copied}: nothing to do")


def test_what_changes_nothing_runs_nothing(call, copied):
    changes = ["data.workers=7", "train.checkpoint.steps=2", "train.eval_images=9", "train.tensorboard=true"]
    code, out, _ = call("run", copied, *(word for change in changes for word in ("--set", change)), "--update")
    assert (code, out.splitlines()[0]) == (0, f"{copied}: nothing to do, all stages are finished")


def test_stages_want_those_before_them_finished_and_fresh(call, small, copied, tmp_path):
    folder = tmp_path / "new"
    for stage in ("collect", "search", "evaluate", "report"):
        code, _, err = call(stage, small, "--out", folder)
        remedy = f"`ofa train {folder}`, or `ofa run {folder}` for all"
        assert (code, err) == (2, f"{stage} needs the stage train first: {remedy}\n")
    code, _, err = call("search", copied, "--set", "train.lr=0.2", "--update")
    assert code == 2
    why = "as its inputs changed (train.lr: 0.1, now 0.2)"
    assert err.startswith(f"search needs the stage train again, {why}: `ofa train ")
    (copied / "supernet" / "weights.safetensors").unlink()
    code, _, err = call("collect", copied, "--set", "train.lr=0.1", "--update")
    assert code == 2
    assert err.startswith(f"{copied}/supernet/weights.safetensors is missing or damaged; `ofa train {copied}` makes it")


def test_folders_that_cannot_be_a_run(call, small, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for out in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        code, _, err = call("run", small, "--out", out)
        assert (code, err) == (2, f"{out} is there already and is no run folder; give another one with --out\n")
    code, _, err = call("run", small, "--out", tmp_path / "mine" / "thesis.txt" / "run")
    assert code == 2
    assert re.search(r"thesis.txt/run cannot be written \(.*\); give another folder with --out\n$", err)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_a_wrong_path_does_not_bind_the_folder_to_it(call, small, tmp_path):
    out, wrong = tmp_path / "run", tmp_path / "wrong"
    code, _, err = call("train", small, "--out", out, "--set", f"data.folder={wrong}")
    message = f"data.folder: {wrong} is not a folder; give the path of an existing one\n"
    assert (code, err, out.exists()) == (2, message, False)
    wrong.mkdir()  # it is there now, and empty
    code, _, err = call("train", small, "--out", out, "--set", f"data.folder={wrong}")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"{wrong} holds no images")
    code, out_text, err = call("search", small, "--out", out)  # another recipe now
    assert (code, out_text) == (2, "")
    assert err.startswith("search needs the stage train first")


def test_data_that_is_away_costs_nothing(call, copied, tmp_path):
    """An image disk that is not mounted must not undo what was made from it."""
    before = (copied / "run.json").read_bytes()
    code, _, err = call("run", copied, "--set", f"data.folder={tmp_path / 'away'}", "--update")
    assert (code, err.startswith("data.folder: ")) == (2, True)
    assert (copied / "run.json").read_bytes() == before
    assert call("run", copied)[1].startswith(f"{copied}: nothing to do")
