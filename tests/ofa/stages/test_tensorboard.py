"""``train.tensorboard``: the epochs' figures, as TensorBoard reads them."""

import sys

import pytest


def test_an_epoch_is_a_step(call, small, tmp_path):
    pytest.importorskip("tensorboard", reason="needs `pip install tensorboard`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, _, err = call("train", small, "--out", tmp_path / "run", "--set", "train.tensorboard=true")
    assert code == 0, err
    events = EventAccumulator(str(tmp_path / "run" / "train" / "tensorboard")).Reload()
    losses = events.Scalars("loss")
    epochs = (tmp_path / "run" / "train" / "metrics.jsonl").read_text().splitlines()
    assert [point.step for point in losses] == list(range(1, len(epochs) + 1))
    assert {"accuracy_smallest", "accuracy_median", "accuracy_largest", "lr"} <= set(events.Tags()["scalars"])


def test_without_the_package_it_says_what_to_install(call, small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = call("train", small, "--out", tmp_path / "run", "--set", "train.tensorboard=true")
    assert (code, err) == (2, "train.tensorboard: true needs `pip install tensorboard`\n")
