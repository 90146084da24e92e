"""Channels are sorted only as far as no trained subnet notices, also when training goes on from a file."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from shared_networks import images, subnets_of
from shared_spaces import SMALL

from ofa.supernet.saving import save_weights
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.checkpoint import to_bytes
from ofa.supernet.training.initial_weights import load_initial
from ofa.supernet.training.opened import save_supernet, widest
from ofa.supernet.training.phases import SCHEDULES, Phase, all_open
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import _begin_phase, train_supernet

ALL = all_open(SMALL)
TINY = SearchSpace.preset("tiny_mbv3")  # three options of each
SORTING = Phase("sorting", 1, 0.1, open=ALL, sort_channels=True)


def begin(net, *phases):
    """What happens before the first step of each phase, without its steps."""
    for phase in phases:
        _begin_phase(SimpleNamespace(net=net, phase=phase, teacher=None))


def outputs(net, subnets):
    return [net.activate(subnet)(images(net.space)) for subnet in subnets]


def loaded(path, space=SMALL):
    net = Supernet(space, num_classes=10).eval()
    assert load_initial(net, path) == []
    return net


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "of an older version"])
@torch.no_grad()
def test_no_trained_subnet_is_changed_by_any_schedule(schedule, recorded, scrambled, tmp_path):
    source, path, subnets = scrambled(SMALL), tmp_path / "supernet.safetensors", subnets_of(SMALL, 8)
    source.opened = ALL
    save_supernet(source, path) if recorded else save_weights(source, path)
    net, expected = loaded(path), outputs(source, subnets)
    assert net.opened == ALL
    for phase in SCHEDULES[schedule](SMALL, epochs=1, lr=0.1):
        begin(net, phase)
        for found, output in zip(outputs(net, subnets), expected, strict=True):
            assert torch.equal(found, output), phase.name


@pytest.mark.parametrize("kind", ["plain", "supernet", "supernet of an older version"])
@torch.no_grad()
def test_channels_of_the_full_network_alone_are_sorted(kind, scrambled, tmp_path):
    """And the full network stays what it is."""
    source, path = scrambled(SMALL), tmp_path / "full.safetensors"
    for name, tensor in source.state_dict().items():
        if ".transforms." in name:  # those of untrained kernels
            tensor.copy_(torch.eye(len(tensor)))
    if kind == "plain":
        save_weights(source.extract(SMALL.largest), path)
    elif kind == "supernet":
        save_supernet(source, path)
    else:
        save_weights(source, path)
    net, (smallest, *_, largest) = loaded(path), outputs(source, subnets_of(SMALL, 0))
    assert net.opened == {}
    begin(net, SORTING)
    found = outputs(net, subnets_of(SMALL, 0))
    assert not torch.allclose(found[0], smallest, rtol=1e-3)
    torch.testing.assert_close(found[-1], largest, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opened", [{"kernel": 3, "depth": 2}, {"kernel": 3, "depth": 2, "expand": 2}])
@torch.no_grad()
def test_what_was_trained_in_part_is_kept_in_part(opened, scrambled, tmp_path):
    source, path = scrambled(TINY), tmp_path / "supernet.safetensors"
    source.opened = opened
    save_supernet(source, path)
    net = loaded(path, TINY)
    assert net.opened == opened

    # Subnets of the options that were open, before and after the phase that opens the rest.
    lowest = np.zeros(TINY.num_genes, int)
    lowest[TINY.genes_of("expand")] = 3 - opened.get("expand", 1)
    kept = [TINY.largest, *map(TINY.decode, TINY.sample(6, np.random.default_rng(0), min_options=lowest))]
    begin(net, Phase("sorting", 1, 0.1, open=all_open(TINY), sort_channels=True))
    for found, expected in zip(outputs(net, kept), outputs(source, kept), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(*(outputs(one, [TINY.smallest])[0] for one in (net, source)), rtol=1e-3)


def test_the_file_of_a_whole_training_has_no_metadata(scrambled, tmp_path):
    """Its bytes are those that versions before wrote."""
    net = scrambled(SMALL)
    net.opened = ALL
    save_supernet(net, tmp_path / "new.safetensors")
    save_weights(net, tmp_path / "old.safetensors")
    assert (tmp_path / "new.safetensors").read_bytes() == (tmp_path / "old.safetensors").read_bytes()
    net.opened = {"depth": 2}
    save_supernet(net, tmp_path / "new.safetensors")
    with safetensors.safe_open(tmp_path / "new.safetensors", "pt") as file:
        assert json.loads(file.metadata()["opened"]) == {"depth": 2}


def test_widest():
    assert widest({}, {"kernel": 2}, {"kernel": 1, "depth": 3}, {"kernel": 3}) == {"kernel": 3, "depth": 3}


@pytest.mark.parametrize("value", ["{", "[]", '{"expand": 0}', '{"expand": "3"}', '{"expand": true}'])
def test_metadata_that_is_none_of_ours(value, scrambled, tmp_path):
    path, net = tmp_path / "supernet.safetensors", scrambled(SMALL)
    save_weights(net, path, metadata={"opened": value})
    with pytest.raises(ValueError, match=f"^{path} "):
        load_initial(net, path)


def batches(epoch, start=0):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(start, 2):
        yield torch.randint(0, 256, (4, 3, 12, 12), generator=generator).byte(), torch.arange(4)


def train(net, phases, **options):
    checkpoints = []
    train_supernet(
        net,
        phases,
        batches,
        steps_per_epoch=2,
        normalize=lambda uint8: uint8.float() / 64 - 1,
        settings=Settings(),
        save_checkpoint=lambda checkpoint: checkpoints.append(copy.deepcopy(checkpoint)),
        progress=False,
        **options,
    )
    return checkpoints


def test_training_remembers_what_it_opened(tmp_path):
    """After a stop in each phase, too, and in a checkpoint that other training starts from."""
    phases = [
        Phase("depth", 1, 0.01, open={"depth": 2}),
        Phase("kernel", 1, 0.01, open={"kernel": 2}, sort_channels=True),
        Phase("again", 1, 0.01, open={"depth": 1}, sort_channels=True),
    ]
    net = Supernet(SMALL, num_classes=4)
    net.opened = {"expand": 2}
    checkpoints = train(net, phases)
    assert net.opened == {"expand": 2, "depth": 2, "kernel": 2} == ALL
    assert [one.values["opened"] for one in checkpoints] == [{"expand": 2, "depth": 2}, ALL, ALL]
    for checkpoint in checkpoints:
        resumed = Supernet(SMALL, num_classes=4)
        train(resumed, phases, resume=checkpoint)
        assert resumed.opened == ALL
        assert all(torch.equal(one, net.state_dict()[name]) for name, one in resumed.state_dict().items())
        path = tmp_path / "checkpoint.safetensors"
        path.write_bytes(to_bytes(checkpoint))
        other = Supernet(SMALL, num_classes=4)
        load_initial(other, path)
        assert other.opened == checkpoint.values["opened"]


def test_a_checkpoint_of_an_older_version_remembers_its_phases():
    phases = [Phase("depth", 1, 0.01, open={"depth": 2}), Phase("full", 1, 0.01)]
    (checkpoint, _) = train(Supernet(SMALL, num_classes=4), phases)
    del checkpoint.values["opened"]
    net = Supernet(SMALL, num_classes=4)
    train(net, phases, resume=checkpoint)
    assert net.opened == {"depth": 2}
