"""What a stage would refuse, `ofa check` refuses: by asking the stage."""

import random

import numpy as np
import pytest
import torch

from ofa.config.recipe_file import load_recipe
from ofa.data.loader import open_data
from ofa.errors import UserError
from ofa.pipeline import stage_checks, step_memory
from ofa.pipeline.stage_checks import check_stages
from ofa.supernet.supernet import Supernet


def checked(small, *overrides):
    recipe = load_recipe(small, overrides=overrides)
    data = open_data(recipe.data, resolution=recipe.space.resolutions[-1], seed=recipe.seed)
    return check_stages(recipe, data)


def test_what_the_stages_take_passes_and_draws_nothing(small):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    options = ["data.augment.auto_augment=rand-m9-mstd0.5", "train.mixup=0.2", "train.phases=attentive"]
    assert checked(small, *options) == []
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    "options, words",
    [
        (["measure.threads=1024"], "measure.threads: 1024 threads on "),
        (["targets.phone.limits.macs=10", "measure.threads=1024"], "measure.threads: 1024"),
    ],
)
def test_what_a_stage_refuses_is_refused(small, options, words):
    with pytest.raises(UserError) as caught:
        checked(small, *options)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == len(options)


@pytest.mark.parametrize("made", ["make_optimizer", "make_mixup", "make_scheduler", "search"])
def test_what_fails_in_a_stage_is_met_by_the_check(small, monkeypatch, made):
    def refusing(*_, **__):
        raise (UserError if made == "search" else ValueError)("no such thing")

    monkeypatch.setattr(stage_checks, made, refusing)
    with pytest.raises(UserError, match="no such thing"):
        checked(small)


def test_what_timm_cannot_do_to_an_image(small, monkeypatch):
    def refusing(self):
        raise IndexError("no such operation")

    monkeypatch.setattr("ofa.data.loader.Data.try_augmentation", refusing)
    with pytest.raises(UserError, match=r"data\.augment: timm cannot do that to an image: no such operation"):
        checked(small)


def test_optimizers_that_refuse_their_settings(small):
    with pytest.raises(UserError, match=r"train\.momentum: 0 does not work with sgd"):
        checked(small, "train.momentum=0")
    assert checked(small, "train.momentum=0", "train.optimizer=rmsprop") == []


def test_a_step_that_surely_does_not_fit_in_memory(small, monkeypatch):
    checked(small, "train.batch_size=1024")
    page = 4096
    monkeypatch.setattr(step_memory.os, "sysconf", lambda name: page if name == "SC_PAGE_SIZE" else 2**24 // page)
    with pytest.raises(UserError, match=r"train\.batch_size: 1024 images at a time of 20 pixels need 0\."):
        checked(small, "train.batch_size=1024")
    assert checked(small, "train.batch_size=1024", "train.grad_accum_steps=64") == []


def test_the_estimate_is_below_what_a_step_keeps(small):
    """Counted by torch: what autograd saves for the backward pass of one image."""
    recipe = load_recipe(small)
    space, side = recipe.space, recipe.space.resolutions[-1]
    net = Supernet(space, num_classes=10, in_chans=1).train()
    kept: dict[int, int] = {}

    def pack(tensor):
        if tensor.shape[:1] == (4,):
            kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.randn(4, 1, side, side)).sum()
    estimate = 4 * step_memory.image_bytes(space, side)
    assert 0.3 * sum(kept.values()) < estimate < sum(kept.values())
