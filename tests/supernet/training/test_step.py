"""One training step on one batch: what each network learns from, in pieces or whole, and images at another size."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.losses import SOFT_LOSSES, kl
from ofa.supernet.training.step import (
    Diverged,
    OutOfMemory,
    StepBatch,
    backward,
    batch_losses,
    resize,
    step_seed,
    unregularised,
)

SPACE = SearchSpace.from_dict(
    {
        "resolutions": [8, 12],
        "stem": {"width": 8, "first_width": 8},
        "stages": [{"width": 8, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3]}],
        "head": {"width": 16, "features": 16},
    }
)
SUBNETS = (SPACE.largest, SPACE.smallest, SPACE.decode(SPACE.sample(1, np.random.default_rng(4))[0]))


def new_net(*, seed=0, **rates):
    torch.manual_seed(seed)
    return Supernet(SPACE, num_classes=4, **rates)


def lesson(**changes):
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(6, 3, 12, 12, generator=generator)
    labels = torch.randint(4, (6,), generator=generator)
    given = {"images": images, "labels": labels, "subnets": SUBNETS, "teacher": None, "in_place": False}
    return StepBatch(**given | {"where": "phase a, step 3"} | changes)


def learnt(net, given, **options):
    """The loss, and every parameter's gradient."""
    settings = {"distill_loss": "soft_ce", "distill_weight": 1.0, "label_smoothing": 0.0} | options
    net.zero_grad()
    loss = backward(net, given, **settings)
    return loss, {name: one.grad.clone() for name, one in net.named_parameters() if one.grad is not None}


def assert_close(one, other):
    assert set(one) == set(other)
    for name, value in other.items():
        torch.testing.assert_close(
            one[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


# -- what is learnt ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft_loss", SOFT_LOSSES)
def test_distillation_adds_the_weighted_soft_labels_of_the_teacher(soft_loss):
    net, teacher, given = new_net(), new_net(seed=1).extract(SPACE.largest), lesson()
    expected = []
    for subnet in SUBNETS:
        logits = net.train().activate(subnet)(given.images)
        with torch.no_grad():
            soft = teacher(given.images)
        hard = F.cross_entropy(logits, given.labels, label_smoothing=0.2)
        expected.append(hard + 0.7 * SOFT_LOSSES[soft_loss](logits, soft))
    net.zero_grad()
    (sum(expected) / len(expected)).backward()
    gradients = {name: one.grad.clone() for name, one in net.named_parameters() if one.grad is not None}

    statistics = copy.deepcopy(teacher.state_dict())
    options = {"distill_loss": soft_loss, "distill_weight": 0.7, "label_smoothing": 0.2}
    loss, found = learnt(net, lesson(teacher=teacher), **options)
    assert loss == pytest.approx(sum(value.item() for value in expected) / len(expected), rel=1e-5)
    assert_close(found, gradients)
    assert_close(teacher.state_dict(), statistics)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_without_weight_the_teacher_is_not_asked():
    loss, _ = learnt(new_net(), lesson(teacher=lambda images: pytest.fail("asked")), distill_weight=0.0)
    assert loss == pytest.approx(learnt(new_net(), lesson())[0])


@pytest.mark.parametrize("follower", [1, 2])
def test_in_place_only_the_first_learns_from_labels_and_nothing_from_being_followed(follower):
    net = new_net().train()
    pair = (SUBNETS[0], SUBNETS[follower])
    given = lesson(subnets=pair, in_place=True)
    first = net.activate(pair[0])(given.images)
    second = net.activate(pair[1])(given.images)
    expected = (F.cross_entropy(first, given.labels) + kl(second, first.detach())) / 2
    net.zero_grad()
    expected.backward()
    gradients = {name: one.grad.clone() for name, one in net.named_parameters() if one.grad is not None}
    loss, found = learnt(net, given, distill_loss="kl", distill_weight=0.0)  # `distill` weighs frozen teachers
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert_close(found, gradients)


def test_in_place_only_the_first_is_regularised(monkeypatch):
    net = new_net(drop_rate=0.5, drop_path_rate=0.3).train()
    seen, forward = [], net.forward

    def spy(images):
        paths = [one.drop_prob for one in net.model.modules() if hasattr(one, "drop_prob")]
        seen.append((net.model.drop_rate, max(paths)))
        return forward(images)

    monkeypatch.setattr(net, "forward", spy)
    learnt(net, lesson(in_place=True))
    assert seen == [(0.5, pytest.approx(0.3, abs=0.2)), (0.0, 0.0), (0.0, 0.0)] and seen[0][1] > 0
    seen.clear()
    learnt(net, lesson())
    assert len(set(seen)) == 1 and seen[0][0] == 0.5


def test_rates_come_back_after_an_error():
    net = new_net(drop_rate=0.5, drop_path_rate=0.3)
    rates = [one.drop_prob for one in net.model.modules() if hasattr(one, "drop_prob")]
    with pytest.raises(KeyError), unregularised(net):
        assert net.model.drop_rate == 0
        raise KeyError
    assert net.model.drop_rate == 0.5 and max(rates) > 0
    assert [one.drop_prob for one in net.model.modules() if hasattr(one, "drop_prob")] == rates


@pytest.mark.parametrize("parts", [2, 4, 6])  # of 6 images; 4 gives three pieces
@pytest.mark.parametrize("in_place", [True, False])
def test_pieces_of_a_batch_give_the_gradients_of_the_whole(parts, in_place):
    net, teacher = new_net().eval(), new_net(seed=1).extract(SPACE.largest)  # batch norm sees one piece at a time
    given = lesson(in_place=in_place, teacher=None if in_place else teacher)
    whole, gradients = learnt(net, given, label_smoothing=0.1)
    loss, found = learnt(net, given, label_smoothing=0.1, pieces=parts)
    assert loss == pytest.approx(whole, rel=1e-5)
    assert_close(found, gradients)


def test_uneven_pieces_count_by_their_images():
    net, given = new_net().eval(), lesson()
    given = lesson(images=given.images[:5], labels=given.labels[:5])
    whole, gradients = learnt(net, given)
    loss, found = learnt(net, given, pieces=2)
    assert loss == pytest.approx(whole, rel=1e-5)
    assert_close(found, gradients)


def test_losses_of_a_batch_are_without_dropout_and_gradient():
    net, given = new_net(drop_rate=0.9).train(), lesson()
    codes = np.stack([SPACE.encode(subnet) for subnet in SUBNETS])
    found = batch_losses(net, codes, given.images, given.labels)
    net.model.drop_rate = 0.0
    logits = [net.activate(subnet)(given.images) for subnet in SUBNETS]
    assert found == pytest.approx([F.cross_entropy(one, given.labels).item() for one in logits], rel=1e-5)
    assert all(parameter.grad is None for parameter in net.parameters())


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_the_network_whose_loss_is_not_finite_is_named():
    given = lesson(images=torch.full((6, 3, 12, 12), float("nan")))
    words = f"the loss is nan in phase a, step 3, subnet {SPACE.largest.to_json()}; lower the learning rate"
    with pytest.raises(Diverged, match=f"^{re.escape(words)}"):
        learnt(new_net(), given)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_says_where_and_what_to_lower(error):
    net, calls = new_net(), iter(range(9))

    def full(*_):
        if next(calls) == 1:
            raise error

    net.model.conv_head.register_forward_hook(full)
    with pytest.raises(OutOfMemory) as caught:
        learnt(net, lesson(), pieces=2)
    words = f"out of memory in phase a, step 3, subnet {SPACE.smallest.to_json()}, 3 images of 12 pixels at a time; "
    assert str(caught.value).startswith(words)
    assert all(remedy in str(caught.value) for remedy in ("batch_size", "grad_accum_steps", "resolutions"))


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError) as caught:
        learnt(new_net(), lesson(images=torch.zeros(6, 2, 12, 12)))
    assert type(caught.value) is RuntimeError


# -- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 12), (8, 8), (12, 8), (8, 12)])
@pytest.mark.parametrize("resolution", [8, 12])
def test_resize_gives_squares(shape, resolution):
    images = torch.full((2, 3, *shape), 0.25)
    resized = resize(images, resolution)
    assert resized.shape == (2, 3, resolution, resolution)
    torch.testing.assert_close(resized, torch.full_like(resized, 0.25))
    assert resized.is_contiguous(memory_format=torch.channels_last)


def test_resize_averages_when_it_shrinks():
    stripes = torch.tensor([0.0, 1.0]).repeat(1, 1, 16, 8)
    inner = resize(stripes, 4)[..., 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), rtol=0, atol=0.1)


def test_step_seeds_differ_and_fit():
    seeds = {step_seed(seed, step) for seed in (0, 1, 2, 2**40) for step in range(100)}
    assert len(seeds) == 400 and all(0 <= seed < 2**63 for seed in seeds)


def test_models_whose_dropout_is_a_layer_have_it_switched_off_too():
    net = nn.Module()
    net.model = nn.Sequential(nn.Dropout(0.4), nn.Linear(2, 2))
    with unregularised(net):
        assert net.model[0].p == 0
    assert net.model[0].p == 0.4
