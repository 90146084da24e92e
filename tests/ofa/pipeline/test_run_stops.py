"""What ends a run before its end, and how the same command goes on: signals, full disks, limits, NaN, bad exports."""

import errno
import json
import os
import re
import signal
import time

import numpy as np
import onnx
import pytest

from ofa.config.recipe_file import load_recipe
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.training.checkpoint import read_checkpoint
from ofa.targets import model_files

STEPS = 16  # an epoch of 1,079 images in batches of 64


def wait(process, ready) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.003)


def rows(folder) -> int:
    path = folder / "accuracy.csv"
    return len(path.read_bytes().splitlines()) - 1 if path.exists() else 0


def checkpoints(folder) -> list:
    return sorted((folder / "train").glob("checkpoint-*.safetensors"))


def test_ctrl_c_and_kill_anywhere_end_in_the_same_bytes(call, ran, start, small, finished, tmp_path):
    folder = tmp_path / "run"
    metrics = folder / "train" / "metrics.jsonl"

    process = start("run", small, "--out", folder)
    wait(process, lambda: checkpoints(folder))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, f"stopped; `ofa run {folder}` goes on from here\n")
    epochs = metrics.read_text()
    assert 1 <= len(epochs.splitlines()) < 4
    newest = read_checkpoint(checkpoints(folder)[-1])
    assert newest.global_step // STEPS == newest.epochs == len(epochs.splitlines())
    assert not (folder / "supernet").exists()

    process = start("run", small, "--out", folder)
    wait(process, lambda: rows(folder) >= 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert metrics.read_text().startswith(epochs)  # with their seconds: no epoch was trained again
    assert len(metrics.read_text().splitlines()) == 4
    kept = (folder / "accuracy.csv").read_bytes()
    assert 2 <= rows(folder) < 10

    process = start("run", small, "--out", folder)
    wait(process, lambda: rows(folder) >= 4)
    process.kill()
    process.wait()
    assert (folder / "accuracy.csv").read_bytes().startswith(kept)
    assert rows(folder) < 10
    with (folder / "accuracy.csv").open("ab") as file:
        file.write(b"20,2-1,3-3")  # as a kill in the middle of a write leaves it

    for stage in ("collect", "predict", "measure", "search"):
        code, out, err = call(stage, folder)
        assert (code, ran(out)) == (0, [stage]), err
    for name in ("supernet/weights.safetensors", "accuracy.csv", "predictor/quality.json"):
        assert (folder / name).read_bytes() == (finished.folder / name).read_bytes()
    found, expected = (json.loads((run / "search" / "phone.json").read_text()) for run in (folder, finished.folder))
    assert found["subnet"] == expected["subnet"]


@pytest.mark.parametrize(
    "writes", [0, 1, 2, 3, 4, 5], ids=["recipe", "start", "copy", "search", "finish", "second copy"]
)
def test_a_full_disk(call, ran, copied, monkeypatch, writes):
    """``writes``: how many files still fit."""
    real, left = os.fsync, iter(range(writes))

    def full(descriptor: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    change = ["--set", "targets.phone.limits.macs=0.6x", "--update"]
    before = json.loads((copied / "run.json").read_text())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, _, err = call("search", copied, *change)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"{copied}: the disk is full (")
    after = json.loads((copied / "run.json").read_text())
    assert {**after, "search": None, "digest": None} == {**before, "search": None, "digest": None}
    assert not list(copied.rglob("*.tmp"))
    code, out, _ = call("search", copied, *change)
    assert (code, ran(out)) == (0, ["search"] if writes < 5 else [])


def test_a_limit_that_nothing_meets_names_the_smallest(call, copied):
    code, _, err = call("search", copied, "--set", "targets.phone.limits.macs=10", "--update")
    space = load_recipe(copied / "recipe.yaml").space
    macs = CostTable.macs(space, num_classes=10, in_chans=1).predict(space.encode(space.smallest)[None])[0]
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("targets.phone: limit macs 10")
    assert f"the cheapest has macs {macs:.6g}" in err
    assert f"subnet {space.smallest.id}: " in err


def test_nan_says_where_and_keeps_the_last_good_checkpoint(call, small, tmp_path):
    folder = tmp_path / "run"
    phases = "[{name: calm, epochs: 1, lr: 0.01}, {name: wild, epochs: 8, lr: 1000}]"
    settings = [f"train={{phases: {phases}, batch_size: 128}}", "seed=1"]
    options = [word for setting in settings for word in ("--set", setting)]
    code, _, err = call("train", small, "--out", folder, *options)
    assert (code, err.count("\n")) == (2, 1)
    where = r'phase wild, step \d+, learning rate [\d.e+]+, subnet {"resolution": (16|20), "depths": \['
    assert re.match(rf"training stopped: the loss is (nan|inf) in {where}", err)
    assert "(train.lr, train.clip_grad)" in err
    checkpoint = folder / "train" / "checkpoint-000000008.safetensors"  # the calm epoch has eight steps
    assert checkpoints(folder) == [checkpoint]
    assert err.endswith(f"; the last good checkpoint is {checkpoint}, which train.init takes\n")
    code, _, err = call("train", small, "--out", tmp_path / "next", "--set", f"train.init={checkpoint}")
    assert code == 0, err
    (line,) = (folder / "train" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["phase"] == "calm"


def test_a_model_that_disagrees_is_refused(call, copied, finished, monkeypatch):
    model = copied / "models" / "phone" / "model.onnx"

    def tampered(_, path, **__):
        """The file that the exporter wrote, with one bias changed."""
        proto = onnx.load(finished.folder / "models" / "phone" / "model.onnx")
        bias = next(value for value in proto.graph.initializer if list(value.dims) == [10])
        values = onnx.numpy_helper.to_array(bias) + np.eye(10, dtype=np.float32)[3]
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save(proto, path)
        return path

    model.unlink()
    (model.parent / "verify.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(model_files, "export_onnx", tampered)
        code, _, err = call("run", copied)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"targets.phone: {model}.rejected: the exported model disagrees with the torch model (")
    assert model.with_name("model.onnx.rejected").exists()
    assert not model.exists()
    code, _, err = call("report", copied)
    assert (code, err.startswith("report needs the stage export first")) == (2, True)
