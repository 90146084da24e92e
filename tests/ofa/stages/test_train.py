"""The stage ``train`` as a recipe asks for it: colours, schedules, weights to start from, what is shown."""

import json

import pytest
import safetensors.torch
import torch

from ofa.config.recipe_file import load_recipe
from ofa.config.schedule import training_phases

WEIGHTS = "supernet/weights.safetensors"


def settings(**values):
    return [word for key, value in values.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


def weights(folder):
    return safetensors.torch.load((folder / WEIGHTS).read_bytes())


def test_colour_images(call, small, tmp_path):
    code, _, err = call("train", small, "--out", tmp_path / "run", *settings(data__channels=3))
    assert code == 0, err
    assert weights(tmp_path / "run")["model.conv_stem.weight"].shape[1] == 3


@pytest.mark.parametrize("schedule, loss", [("random", "kl"), ("sandwich", "soft_ce"), ("attentive", "alpha")])
def test_schedules_and_losses(call, small, tmp_path, schedule, loss):
    options = settings(train__phases=schedule, train__distill_loss=loss)
    code, out, err = call("train", small, "--out", tmp_path / "run", *options)
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "run" / "train" / "metrics.jsonl").read_text().splitlines()]
    expected = [phase.name for phase in training_phases(load_recipe(tmp_path / "run" / "recipe.yaml"))]
    assert list(dict.fromkeys(row["phase"] for row in rows)) == expected
    assert all(0 < row["loss"] < 10 for row in rows)
    last = rows[-1]
    assert {"accuracy_smallest", "accuracy_median", "accuracy_largest"} <= last.keys()
    for name in ("smallest", "median", "largest"):
        assert f"{name} {last[f'accuracy_{name}']:.1%}" in err + out


def test_a_line_an_epoch(call, small, tmp_path):
    code, out, err = call("train", small, "--out", tmp_path / "run")
    assert code == 0
    lines = [line for line in (out + err).splitlines() if "images/s" in line]
    rows = (tmp_path / "run" / "train" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(rows) == sum(phase.epochs for phase in training_phases(load_recipe(small)))
    for line, row in zip(lines, map(json.loads, rows), strict=True):
        for word in (row["phase"], f"loss {row['loss']:.3f}", " left"):
            assert word in line


@pytest.mark.parametrize("skipped", [True, False])
def test_from_a_trained_network(call, small, finished, tmp_path, skipped):
    options = settings(train__init=finished.folder / WEIGHTS, train__skip_first_phase=str(skipped).lower())
    code, _, err = call("train", small, "--out", tmp_path / "run", *options)
    assert code == 0, err
    first = json.loads((tmp_path / "run" / "train" / "metrics.jsonl").read_text().splitlines()[0])
    fresh = json.loads((finished.folder / "train" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["phase"] == ("kernel" if skipped else "full")
    if not skipped:
        assert first["loss"] < fresh["loss"]


@pytest.fixture
def other_classes(finished, tmp_path):
    """The weights of a network that tells three classes apart, not ten."""
    state = weights(finished.folder)
    state |= {name: tensor[:3].contiguous() for name, tensor in state.items() if ".classifier." in name}
    path = tmp_path / "three.safetensors"
    path.write_bytes(safetensors.torch.save(state))
    return path


@pytest.mark.parametrize(
    "options, remedy",
    [
        ({"train__skip_first_phase": "true"}, "take train.skip_first_phase out"),
        (
            {
                "train__epochs": "null",
                "train__lr": "null",
                "train__phases": "[{name: a, epochs: 1, lr: 0.1, subnets: 2, teacher: full}]",
            },
            "give that phase another teacher",
        ),
    ],
)
def test_nothing_learns_from_a_random_classifier(call, small, other_classes, tmp_path, options, remedy):
    said = settings(train__init=other_classes, **options)
    for command in (["train", small, "--out", tmp_path / "run"], ["check", small]):
        code, _, err = call(*command, *said)
        assert (code, err.count("\n")) == (2, 1), command
        assert err.startswith(f"train.init: {other_classes} is of a network with another number of classes than the 10")
        assert remedy in err


def test_a_new_classifier_is_trained_before_anything_learns_from_it(call, small, other_classes, tmp_path):
    code, out, err = call("train", small, "--out", tmp_path / "run", *settings(train__init=other_classes))
    assert code == 0, err
    assert "all weights taken but classifier.weight, classifier.bias" in out


def test_other_weights_make_another_run(call, small, finished, tmp_path):
    start = tmp_path / "start.safetensors"
    start.write_bytes((finished.folder / WEIGHTS).read_bytes())
    run = ["train", small, "--out", tmp_path / "run", *settings(train__init=start)]
    assert call(*run)[0] == 0
    assert "nothing to do" in call(*run)[1]
    state = safetensors.torch.load(start.read_bytes())
    start.write_bytes(safetensors.torch.save({name: tensor * 1 for name, tensor in state.items()} | _moved(state)))
    code, _, err = call(*run)
    assert code == 2 and "train.init: its weights are others" in err
    code, out, _ = call(*run, "--update")
    assert code == 0
    assert "nothing to do" not in out


def _moved(state):
    return {"model.classifier.bias": state["model.classifier.bias"] + 1}


@pytest.mark.parametrize(
    "write, words",
    [
        (None, "is not there; give the path of a .safetensors file"),
        (lambda path: path.write_bytes(b"nothing"), "is damaged or no .safetensors file"),
        (
            lambda path: path.write_bytes(safetensors.torch.save({"conv_stem.weight": torch.zeros(4, 1, 3, 3)})),
            "does not fit the largest network of this space: conv_stem.weight is [4, 1, 3, 3] in the file",
        ),
    ],
)
def test_weights_that_cannot_be_taken(call, small, tmp_path, write, words):
    path = tmp_path / "start.safetensors"
    if write:
        write(path)
    code, _, err = call("train", small, "--out", tmp_path / "run", *settings(train__init=path))
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"train.init: {path} ")
    assert words in err
