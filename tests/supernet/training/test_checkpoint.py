"""Checkpoints give back exactly what was put in, or say which file is damaged."""

import errno
import os
import re

import pytest
import safetensors.torch
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from ofa.supernet.space import SearchSpace
from ofa.supernet.training.checkpoint import (
    Checkpoint,
    check_space,
    from_bytes,
    pack_optimizer,
    part,
    read_checkpoint,
    to_bytes,
    unpack_optimizer,
    write_checkpoint,
)

TENSORS = {
    "net.weight": torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last),
    "net.count": torch.tensor(7),
    "teacher.weight": torch.randn(2),
    "optimizer.0.momentum_buffer": torch.randn(5),
}
PLAIN = {"net.weight": torch.ones(2)}
SPACE = SearchSpace.preset("tiny_mbv3")
POSITION = {"phase": 2, "step": 7, "global_step": 19, "epochs": 6}
VALUES = {"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "scaler": {}, "sums": {"loss": 1 / 3, "steps": 2}}


def checkpoint(**changes):
    return Checkpoint(**POSITION | {"space": SPACE.to_dict(), "tensors": TENSORS, "values": VALUES} | changes)


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "checkpoint.safetensors"
    write_checkpoint(path, checkpoint())
    again = read_checkpoint(path)
    assert {name: getattr(again, name) for name in POSITION} == POSITION
    assert (again.space, again.values) == (SPACE.to_dict(), VALUES)
    assert set(again.tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert again.tensors[name].dtype == tensor.dtype and torch.equal(again.tensors[name], tensor)
    assert list(path.parent.iterdir()) == [path]


def test_bytes_are_the_files(tmp_path):
    write_checkpoint(tmp_path / "file", checkpoint())
    content = to_bytes(checkpoint())
    assert content == (tmp_path / "file").read_bytes()
    assert to_bytes(from_bytes(content)) == content
    with pytest.raises(ValueError, match=r"^is damaged: "):
        from_bytes(content[:-1])


def test_no_flipped_bit_goes_unnoticed():
    """Whatever still loads says the same: a space of the header that became another one, say."""
    content = to_bytes(
        checkpoint(space={"a": 1}, tensors={"net.weight": torch.arange(3.0), "net.count": torch.tensor(7)})
    )
    noticed = 0
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            same = to_bytes(from_bytes(bytes(damaged))) == content
        except ValueError:
            noticed += 1
        else:
            assert same, bit
    assert noticed > 0.95 * 8 * len(content)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, checkpoint())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, checkpoint(step=8))
    assert read_checkpoint(path).step == 7
    assert list(tmp_path.iterdir()) == [path]


def test_another_space_is_refused_by_the_genes_that_differ(tmp_path):
    write_checkpoint(tmp_path / "file", checkpoint())
    stored = read_checkpoint(tmp_path / "file")
    check_space(stored, SPACE)
    other = SPACE.to_dict()
    there = other["stages"][1]["depths"]
    other["stages"][1] |= {"depths": [*there, 9]}
    other["resolutions"] = [16]
    with pytest.raises(ValueError, match="is of another space") as caught:
        check_space(stored, SearchSpace.from_dict(other))
    told = str(caught.value)
    assert f"space.stages.1.depths: {there} in the checkpoint, {[*there, 9]} here" in told
    assert f"space.resolutions: {SPACE.to_dict()['resolutions']} in the checkpoint, [16] here" in told
    assert told.count(" in the checkpoint, ") == 2 and "train in another folder" in told


def test_part_takes_a_prefix_off():
    tensors = {"net.a.b": torch.zeros(1), "net.c": torch.ones(1), "network.d": torch.ones(1)}
    assert part(tensors, "net") == {"a.b": tensors["net.a.b"], "c": tensors["net.c"]}
    assert part(tensors, "teacher") == {}


@pytest.mark.parametrize("kept", [0, 4, 8, 60, 0.5, 0.99])
def test_truncated_file_is_named(tmp_path, kept):
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, checkpoint())
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is damaged: "):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95 a pickle, perhaps",
        safetensors.torch.save(PLAIN),
        safetensors.torch.save(PLAIN, metadata={"other": "{}"}),
        safetensors.torch.save(PLAIN, metadata={"checkpoint": "{"}),
        safetensors.torch.save(PLAIN, metadata={"checkpoint": "[]"}),
        safetensors.torch.save(PLAIN, metadata={"checkpoint": '{"phase": 1, "values": {}}'}),
    ],
)
def test_file_of_something_else_is_named(tmp_path, content):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is damaged: "):
        read_checkpoint(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "checkpoint.safetensors")


# adamw has tuples among its options, adafactor plain numbers in its state, lamb a tensor and adafactorbv a dtype in its
# groups.
@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsproptf", "adafactor", "lamb", "adafactorbv"])
def test_optimizer_goes_on_where_it_was(tmp_path, name):
    def fresh():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
        model.to(memory_format=torch.channels_last)
        return model, create_optimizer_v2(model, opt=name, lr=0.01, momentum=0.9, weight_decay=0.01)

    def go(model, optimizer, steps):
        for step in steps:
            torch.manual_seed(step)
            optimizer.zero_grad()
            model(torch.randn(8, 3, 3, 3)).square().mean().backward()
            optimizer.step()

    model, optimizer = fresh()
    go(model, optimizer, range(3))
    optimizer.param_groups[0]["lr"] = 0.005
    tensors, values = pack_optimizer(optimizer)
    weights = {f"net.{key}": tensor for key, tensor in model.state_dict().items()}
    packed = {f"optimizer.{key}": tensor for key, tensor in tensors.items()}
    write_checkpoint(tmp_path / "file", checkpoint(tensors={**weights, **packed}, values={"optimizer": values}))
    go(model, optimizer, range(3, 6))

    stored = read_checkpoint(tmp_path / "file")
    assert part(stored.tensors, "optimizer"), "the optimizer keeps nothing; the test shows nothing"
    again, restored = fresh()
    again.load_state_dict(part(stored.tensors, "net"))
    unpack_optimizer(restored, part(stored.tensors, "optimizer"), stored.values["optimizer"])
    assert restored.param_groups[0]["lr"] == 0.005
    go(again, restored, range(3, 6))
    for key, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
