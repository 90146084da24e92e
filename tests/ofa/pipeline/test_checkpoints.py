"""Checkpoint files of a run: the last three are kept, a damaged one is put aside for the one before."""

import errno
import os

import pytest
import torch

from ofa.pipeline import checkpoints
from ofa.pipeline.checkpoints import Timer, newest, write
from ofa.supernet.training.checkpoint import Checkpoint


def made(steps):
    tensors = {"net.weight": torch.arange(100.0) + steps}
    values = {"optimizer": {"state": {}, "param_groups": []}, "sums": {"loss": 0.1}}
    return Checkpoint(
        phase=1, step=steps - 5, global_step=steps, epochs=2, space={"a": 1}, tensors=tensors, values=values
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def of(*steps):
    return [f"checkpoint-{number:09d}.safetensors" for number in steps]


def test_the_last_three_are_kept(tmp_path):
    folder = tmp_path / "train"
    assert newest(folder) is None
    for count, steps in enumerate((8, 9, 10, 100, 2000), start=1):
        write(folder, made(steps))
        assert names(folder) == of(8, 9, 10, 100, 2000)[max(0, count - 3) : count]
    found = newest(folder)
    assert found.global_step == 2000
    assert {**vars(found), "tensors": None} == {**vars(made(2000)), "tensors": None}
    assert torch.equal(found.tensors["net.weight"], torch.arange(100.0) + 2000)
    write(folder, made(2000))  # the end of an epoch, and a signal
    assert names(folder) == of(10, 100, 2000)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:7],
        lambda content: content[:100],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: content.replace(b"checkpoint", b"checkpaint"),
        lambda content: content + b"more",
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        lambda content: content.replace(b'\\"steps\\": 8', b'\\"steps\\": 9'),
        lambda content: content.replace(b"net.weight", b"net.height"),
        lambda content: content.replace(b"digest", b"dijest"),
    ],
    ids=[
        *("empty", "length cut", "header cut", "one byte short", "zeros", "no position", "too long"),
        *("one bit of a tensor", "one digit of the position", "a name", "no digest"),
    ],
)
def test_a_damaged_one_is_quarantine(tmp_path, capsys, damage):
    for steps in (4, 6, 8):
        write(tmp_path, made(steps))
    path = tmp_path / of(8)[0]
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    assert newest(tmp_path).global_step == 6
    out = capsys.readouterr().out
    assert out.startswith(f"{path} is damaged: ") and out.count("\n") == 1
    assert out.endswith(f"moved to {path.name}.damaged, training goes on from {of(6)[0]}\n")
    assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged
    assert (newest(tmp_path).global_step, capsys.readouterr().out) == (6, "")  # said once
    write(tmp_path, made(8))  # neither counts it nor falls over it
    assert names(tmp_path) == sorted([*of(4, 6, 8), f"{path.name}.damaged"])


def test_all_damaged(tmp_path, capsys):
    for steps in (4, 6):
        write(tmp_path, made(steps))
        (tmp_path / of(steps)[0]).write_bytes(b"?")
    assert newest(tmp_path) is None
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"training goes on from {of(4)[0]}")
    assert second.endswith("training starts anew")
    assert names(tmp_path) == [f"{name}.damaged" for name in of(4, 6)]


def test_a_full_disk_leaves_the_others(tmp_path, monkeypatch):
    for steps in (4, 6, 8):
        write(tmp_path, made(steps))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, made(10))
    assert names(tmp_path) == of(4, 6, 8)
    assert newest(tmp_path).global_step == 8


@pytest.mark.parametrize(
    ("steps", "minutes", "due"),
    [
        (None, None, []),
        (3, None, [3, 6, 9]),
        (None, 1.5, [5, 6, 7, 8, 9]),  # 90 of the 20 seconds that each step takes
        (4, 1.5, [4, 5, 6, 7, 8, 9]),
    ],
)
def test_when_a_checkpoint_is_due(monkeypatch, steps, minutes, due):
    now = [1000.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    timer = Timer(steps=steps, minutes=minutes)
    found = []
    for step in range(1, 10):
        now[0] += 20
        if timer.due(step):
            found.append(step)
    assert found == due


def test_minutes_count_from_the_last_one_written(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    timer = Timer(steps=None, minutes=1)
    found = []
    for step in range(1, 13):
        now[0] += 20
        if timer.due(step) or step == 4:  # 4: the end of an epoch
            timer.written()
            found.append(step)
    assert found == [3, 4, 7, 10]
