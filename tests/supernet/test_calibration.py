"""Calibration gives the statistics of the activations, counted by hand."""

import copy

import numpy as np
import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ofa.supernet.calibration import calibrate
from ofa.supernet.elastic.leaves import make_leaf_elastic
from ofa.supernet.extract import extract_state
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")
SUBNET = SPACE.decode(SPACE.sample(1, np.random.default_rng(0))[0])


def batches(*counts):
    generator = torch.Generator().manual_seed(0)
    # Each batch has its own mean and spread: pooling must count the variance between batches.
    return [(1 + i) * torch.randn(n, 3, 16, 16, generator=generator) + i for i, n in enumerate(counts)]


def norms(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}


@torch.no_grad()
def pooled(model, given):
    """Mean and unbiased variance of what every batch norm reads, all values kept and pooled at the end."""
    model = copy.deepcopy(model).train()
    values = {name: [] for name in norms(model)}
    for name, norm in norms(model).items():
        norm.register_forward_pre_hook(
            lambda _norm, inputs, name=name: values[name].append(inputs[0].double().transpose(0, 1).flatten(1))
        )
    for batch in given:
        model(batch)
    together = {name: torch.cat(parts, dim=1) for name, parts in values.items() if parts}
    return {name: (one.mean(1), one.var(1, unbiased=True)) for name, one in together.items()}


@pytest.mark.parametrize(("counts", "worked_on"), [((8,), (8,)), ((6, 1, 3), (7, 3)), ((1, 5, 2, 1), (6, 3))])
def test_statistics_are_those_of_all_activations(counts, worked_on, scrambled):
    model = scrambled(SPACE).extract(SUBNET)
    expected = pooled(model, torch.cat(batches(*counts)).split(worked_on))
    assert calibrate(model, iter(batches(*counts))) is model
    assert set(expected) == set(norms(model)) and len(expected) > 10
    for name, norm in norms(model).items():
        mean, var = expected[name]
        torch.testing.assert_close(norm.running_mean, mean.float(), rtol=1e-4, atol=1e-5, msg=name)
        torch.testing.assert_close(norm.running_var, var.float(), rtol=1e-4, atol=1e-6, msg=name)


@torch.no_grad()
def test_first_layer_of_unequal_batches_by_hand(scrambled):
    model = scrambled(SPACE).extract(SUBNET)
    everything = torch.cat([model.conv_stem(batch) for batch in batches(6, 1, 3)]).double()
    calibrate(model, batches(6, 1, 3))
    torch.testing.assert_close(model.bn1.running_mean, everything.mean((0, 2, 3)).float())
    torch.testing.assert_close(model.bn1.running_var, everything.var((0, 2, 3)).float())


def test_supernet_gets_the_same_and_inactive_channels_keep_theirs(scrambled):
    net = scrambled(SPACE).activate(SUBNET)
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    calibrate(net, batches(6, 3))
    expected = calibrate(net.extract(SUBNET), batches(6, 3))
    for name, norm in norms(expected).items():
        width = norm.num_features
        mine = net.model.get_submodule(name)
        for key in ("running_mean", "running_var"):
            assert torch.equal(getattr(mine, key)[:width], getattr(norm, key))
            assert not torch.equal(getattr(mine, key)[:width], before[f"{name}.{key}"][:width])
    for name, tensor in net.model.state_dict().items():
        if "running" in name:
            owner, _, key = name.rpartition(".")
            norm = norms(expected).get(owner)
            width = norm.num_features if norm else 0  # 0: its block is switched off
            assert torch.equal(tensor[width:], before[name][width:]), name
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, before[name]), name
    x = batches(4)[0]
    assert torch.equal(net(x), expected(x))


@pytest.mark.parametrize("fails", [False, True])
def test_flags_come_back_whatever_happens(fails, scrambled):
    model = scrambled(SPACE).extract(SUBNET).train()
    model.blocks[1].eval()
    model.bn1.momentum, model.blocks[2][0].bn1.momentum = 0.3, None

    def state():
        return [
            (module.training, getattr(module, "momentum", 0), len(module._forward_hooks)) for module in model.modules()
        ]

    def given():
        yield batches(2)[0]
        if fails:
            raise OSError("truncated")

    before = state()
    if fails:
        with pytest.raises(OSError, match="truncated"):
            calibrate(model, given())
    else:
        calibrate(model, given())
    assert state() == before


def test_dropout_is_off(scrambled):
    model = scrambled(SPACE).extract(SUBNET)
    dropping = copy.deepcopy(model).train()
    dropping.blocks.insert(1, nn.Dropout(0.5).train())
    calibrate(model, batches(4))
    calibrate(dropping, batches(4))
    assert torch.equal(dropping.blocks[2][0].bn1.running_mean, model.blocks[1][0].bn1.running_mean)


def test_no_batches():
    norm = BatchNormAct2d(2)
    with pytest.raises(ValueError, match="at least two images; it got 0"):
        calibrate(norm, [])
    assert torch.equal(norm.running_mean, torch.zeros(2)) and torch.equal(norm.running_var, torch.ones(2))


def test_single_values_have_no_variance():
    with pytest.raises(ValueError, match="at least two images; it got 1"):
        calibrate(BatchNormAct2d(2), [torch.ones(1, 2, 1, 1)])


def test_models_without_batch_norms_are_not_run_but_their_batches_are_checked():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))
    model.forward = None  # fails when it is called
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert calibrate(model, batches(4, 2)) is model and model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    calibrate(nn.Identity(), batches(2))  # without a single parameter
    with pytest.raises(ValueError, match="at least two images; it got 1"):
        calibrate(model, batches(1))
    with pytest.raises(ValueError, match="calibration batch 0"):
        calibrate(model, torch.zeros(4, 3, 8, 8, dtype=torch.uint8))


def test_elastic_batch_norms_of_torch_get_what_plain_ones_get():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.ReLU())
    elastic = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU())
    for leaf in elastic[:2]:
        make_leaf_elastic(leaf)
    elastic[0].active_out = 5
    plain.load_state_dict(extract_state(elastic, plain))
    calibrate(plain, batches(4, 3))
    calibrate(elastic, batches(4, 3))
    assert torch.equal(elastic[1].running_mean[:5], plain[1].running_mean) and plain[1].running_mean.all()
    assert torch.equal(elastic[1].running_var[:5], plain[1].running_var)
    assert torch.equal(elastic[1].running_mean[5:], torch.zeros(3))
