"""The training loop on a tiny space and made-up images: it learns, repeats itself bit for bit, and reports."""

import copy
import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from shared_spaces import SMALL as SPACE
from timm.utils import ModelEmaV3
from torch import nn

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training import state as train_state
from ofa.supernet.training.checkpoint import part
from ofa.supernet.training.phases import SCHEDULES, Phase, progressive_shrinking
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.step import batch_losses
from ofa.supernet.training.weight_sharing import train_supernet

ONE = SearchSpace.from_dict(
    {
        "resolutions": [12],
        "stem": {"width": 8, "first_width": 8},
        "stages": [{"width": 8, "depths": [1], "kernels": [3], "expands": [2]}],
        "head": {"width": 16, "features": 16},
    }
)
STEPS = 3
PHASES = tuple(replace(phase, epochs=2) for phase in progressive_shrinking(SPACE, epochs=2, lr=0.1))


def batches(epoch, start=0, *, steps=STEPS, n=16):
    """Four classes, told apart by the bright quadrant; epoch and step decide the draw."""
    for step in range(start, steps):
        rng = np.random.default_rng([1, epoch, step])
        labels = rng.integers(0, 4, n)
        images = rng.integers(0, 120, size=(n, 3, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 6 * (label // 2) :, :][:, :6, 6 * (label % 2) :][:, :, :6] += 100
        yield torch.from_numpy(images), torch.from_numpy(labels)


def prepare(images):
    return images.float() / 64 - 1


def new_net(space=SPACE, *, seed=0):
    torch.manual_seed(seed)
    return Supernet(space, num_classes=4, drop_rate=0.2)


def one_step(epoch, start):
    return batches(epoch, start, steps=1)


def run(net, phases=PHASES, *, settings=None, **options):
    """Trains; returns deep copies of the checkpoints (of every epoch), and the epochs' figures."""
    checkpoints, figures = [], []
    given = {
        "batches": batches,
        "steps_per_epoch": STEPS,
        "normalize": prepare,
        "save_checkpoint": lambda checkpoint: checkpoints.append(copy.deepcopy(checkpoint)),
        "on_epoch": lambda _net, _phase, epoch: figures.append(epoch),
        "macs": lambda codes: codes.sum(axis=1).astype(float),
    }
    train_supernet(net, phases, settings=settings or Settings(), progress=False, **given | options)
    return checkpoints, figures


@functools.cache
def uninterrupted(optimizer):
    net = new_net()
    settings = Settings(optimizer=optimizer, warmup_epochs=1, clip_grad=5.0)
    phases = PHASES if optimizer == "sgd" else tuple(replace(phase, lr=phase.lr / 20) for phase in PHASES)
    return (settings, phases, *run(net, phases, settings=settings), net.state_dict())


def assert_same(state, expected):
    assert set(state) == set(expected)
    different = [name for name, tensor in expected.items() if not torch.equal(state[name], tensor)]
    assert not different, different


def test_every_phase_and_epoch_is_reported():
    _, phases, checkpoints, figures, _ = uninterrupted("sgd")
    assert [phase.name for phase in phases] == ["full", "kernel", "depth-2", "expand-2"]
    positions = [(number, epoch) for number in range(4) for epoch in (1, 2)]
    assert [(checkpoint.phase, checkpoint.step) for checkpoint in checkpoints] == [(n, STEPS * e) for n, e in positions]
    assert [checkpoint.epochs for checkpoint in checkpoints] == list(range(1, 9))
    assert [checkpoint.global_step for checkpoint in checkpoints] == [STEPS * epochs for epochs in range(1, 9)]
    assert all(checkpoint.space == SPACE.to_dict() for checkpoint in checkpoints)
    assert [(figure["phase"], figure["epoch"]) for figure in figures] == [(phases[n].name, e) for n, e in positions]
    for figure in figures:
        assert set(figure) == {
            *("phase", "epoch", "loss", "lr", "threads"),
            *("images_per_second", "seconds", "seconds_left"),
        }
        assert figure["images_per_second"] == pytest.approx(16 * STEPS / figure["seconds"])


def test_seconds_left_count_the_networks_of_every_step_and_a_frozen_teacher_as_a_third():
    phases = [
        Phase("a", epochs=2, lr=0.1),
        Phase("b", epochs=3, lr=0.1, subnets=2, teacher="full"),
        Phase("c", epochs=1, lr=0.1, subnets=3, sampling="sandwich", teacher="in_place"),
    ]
    _, figures = run(new_net(ONE), phases, batches=one_step, steps_per_epoch=1)
    third = 1 / 3
    left = [1 + 3 * (2 + third) + 3, 3 * (2 + third) + 3, 2 * (2 + third) + 3, 2 + third + 3, 3, 0]
    networks = [1, 1, 2 + third, 2 + third, 2 + third, 3]
    for figure, wanted, each in zip(figures, left, networks, strict=True):
        assert figure["seconds_left"] == pytest.approx(figure["seconds"] * wanted / each)


def test_checkpoints_come_after_every_epoch_and_when_they_are_due():
    phases, asked = [Phase("a", epochs=2, lr=0.1), Phase("b", epochs=1, lr=0.1)], []
    checkpoints, _ = run(new_net(ONE), phases, checkpoint_due=lambda step: asked.append(step) or step % 4 == 0)
    assert {1, 2, 4, 5, 7, 8} <= set(asked) <= set(range(1, 10)) and len(asked) == len(set(asked))
    positions = [(one.phase, one.step, one.global_step, one.epochs) for one in checkpoints]
    assert positions == [(0, 3, 3, 1), (0, 4, 4, 1), (0, 6, 6, 2), (1, 2, 8, 2), (1, 3, 9, 3)]
    moved = [checkpoint.tensors["net.model.classifier.weight"] for checkpoint in checkpoints]
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(moved))


def test_it_learns():
    net = new_net()
    phases = [Phase("full", epochs=12, lr=0.2), Phase("all", epochs=6, lr=0.1, subnets=2, kernel=2, depth=2, expand=2)]
    _, figures = run(net, phases, settings=Settings(label_smoothing=0.0, distill_weight=0.0))
    losses = [figure["loss"] for figure in figures]
    assert losses[0] > 1 and losses[11] < 0.4 and losses[-1] < 0.5, losses


@pytest.mark.parametrize(
    ("schedule", "soft_loss"), [("sandwich", "soft_ce"), ("sandwich", "alpha"), ("attentive", "kl")]
)
def test_all_networks_learn_in_place(schedule, soft_loss):
    """The smallest from the largest alone."""
    net, (images, labels) = new_net(), next(batches(99, n=128))
    ends = SPACE.encode(SPACE.smallest), SPACE.encode(SPACE.largest)
    before = batch_losses(net, ends, prepare(images), labels)
    run(
        net,
        SCHEDULES[schedule](SPACE, epochs=10, lr=0.4),
        settings=Settings(label_smoothing=0.0, distill_loss=soft_loss),
    )
    after = batch_losses(net, ends, prepare(images), labels)
    assert (before > 1.2).all() and (after < 0.7 * before).all(), (before, after)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_same_seed_same_bits(optimizer):
    settings, phases, checkpoints, figures, state = uninterrupted(optimizer)
    net = new_net()
    torch.manual_seed(99)  # global state must not matter, nor be touched
    np.random.seed(99)  # noqa: NPY002
    before = torch.get_rng_state()
    again, figures_again = run(net, phases, settings=settings)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(net.state_dict(), state)
    for one, other in zip(again, checkpoints, strict=True):
        assert_same(one.tensors, other.tensors)
    assert [figure["loss"] for figure in figures_again] == [figure["loss"] for figure in figures]


def test_another_seed_other_weights():
    settings, phases, _, _, state = uninterrupted("sgd")
    net = new_net()
    run(net, phases, settings=replace(settings, seed=1))
    assert not torch.equal(net.state_dict()["model.classifier.weight"], state["model.classifier.weight"])


def test_teacher_is_the_full_network_of_the_first_phase_and_stays_so():
    _, _, checkpoints, _, _ = uninterrupted("sgd")
    net = new_net(seed=3)
    net.load_state_dict(part(checkpoints[1].tensors, "net"))
    expected = net.extract(SPACE.largest).state_dict()
    for checkpoint in checkpoints:
        teacher = part(checkpoint.tensors, "teacher")
        if checkpoint.phase == 0:
            assert not teacher
        else:  # its batch norm statistics, too: it is never in training mode
            assert_same(teacher, expected)
    assert not torch.equal(checkpoints[-1].tensors["net.model.bn1.weight"], expected["bn1.weight"])


def test_weights_are_averaged_and_every_phase_ends_with_the_average():
    phases = [Phase("a", epochs=2, lr=0.1), Phase("b", epochs=1, lr=0.1, teacher="full")]
    seen = []

    def look(net, _phase, _figures):
        seen.append(copy.deepcopy(net.state_dict()))

    options = {"settings": Settings(ema=0.6), "checkpoint_due": lambda step: True, "on_epoch": look}
    net = new_net()
    checkpoints, _ = run(net, phases, **options)
    name, average, before = "model.conv_stem.weight", new_net().state_dict()["model.conv_stem.weight"], None
    for checkpoint in checkpoints:
        raw, kept = checkpoint.tensors[f"net.{name}"], checkpoint.tensors[f"ema.{name}"]
        ends = checkpoint.step == phases[checkpoint.phase].epochs * STEPS
        if ends:  # the weights were replaced by the average
            assert_same(part(checkpoint.tensors, "net"), part(checkpoint.tensors, "ema"))
            assert not torch.equal(raw, before)
        else:
            decay = ModelEmaV3(torch.nn.Linear(1, 1), decay=0.6, use_warmup=True).get_decay(checkpoint.step)
            average = decay * (average if checkpoint.step > 1 else raw) + (1 - decay) * raw
            torch.testing.assert_close(kept, average)
        before = kept
    for state, checkpoint in zip(seen, (one for one in checkpoints if one.step % STEPS == 0), strict=True):
        assert_same(state, part(checkpoint.tensors, "ema"))
    assert not torch.equal(checkpoints[2].tensors[f"net.{name}"], checkpoints[2].tensors[f"ema.{name}"])
    assert_same(net.state_dict(), seen[-1])


def test_gradients_are_averaged_over_subnets():
    start = new_net(ONE).state_dict()
    ends = []
    for subnets in (1, 3):  # of a space with one network: three times the same
        net = new_net(ONE)
        net.model.drop_rate = 0.0
        phases = [Phase("full", epochs=1, lr=0.5, subnets=subnets)]
        run(net, phases, batches=one_step, steps_per_epoch=1)
        ends.append(dict(net.named_parameters()))
    for name, parameter in ends[0].items():
        assert not torch.equal(parameter, start[name]), name
        torch.testing.assert_close(parameter, ends[1][name], rtol=1e-5, atol=1e-6)


def test_weight_decay_is_for_matrices_that_are_not_kernel_transforms(monkeypatch):
    optimizers = []

    def spy(*args, **options):
        optimizers.append(loop_create(*args, **options))
        return optimizers[-1]

    loop_create = train_state.make_optimizer
    monkeypatch.setattr(train_state, "make_optimizer", spy)
    net = new_net()
    run(net, PHASES, settings=Settings(weight_decay=0.01), batches=one_step, steps_per_epoch=1)
    assert len(optimizers) == len(PHASES)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    wanted = {name for name, weight in net.named_parameters() if weight.ndim > 1 and ".transforms." not in name}
    for optimizer in optimizers:
        decays = {names[id(one)]: group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
        assert set(decays) == set(names.values()), "the optimizer holds every parameter"
        assert {name for name, decay in decays.items() if decay == 0.01} == wanted
        assert {decay for name, decay in decays.items() if name not in wanted} == {0}
    assert any(name.endswith("5to3") for name in decays)


def test_transforms_stay_the_identity_until_kernels_open():
    _, _, checkpoints, _, _ = uninterrupted("sgd")
    name = "net.model.blocks.1.0.conv_dw.transforms.5to3"
    assert torch.equal(checkpoints[1].tensors[name], torch.eye(9))
    moved = checkpoints[3].tensors[name] - torch.eye(9)
    assert 0 < moved.abs().max() < 0.5


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_learning_rate_warms_up_and_ends_at_zero(monkeypatch, schedule):
    seen = []

    def spy(*args, **options):
        optimizer = loop_create(*args, **options)
        optimizer.register_step_pre_hook(lambda one, *_: seen.append(one.param_groups[0]["lr"]))
        return optimizer

    loop_create = train_state.make_optimizer
    monkeypatch.setattr(train_state, "make_optimizer", spy)
    phases = [Phase("full", epochs=4, lr=0.4), Phase("next", epochs=2, lr=0.1)]
    _, figures = run(new_net(ONE), phases, settings=Settings(warmup_epochs=1.0, lr_schedule=schedule))

    def falling(steps):
        done = np.arange(steps) / steps
        return 0.5 * (1 + np.cos(np.pi * done)) if schedule == "cosine" else 1 - done

    warm = np.arange(STEPS) / STEPS
    assert seen[: 4 * STEPS] == pytest.approx(0.4 * np.array([*warm, *falling(3 * STEPS)]))
    assert seen[4 * STEPS :] == pytest.approx(0.1 * falling(2 * STEPS))
    assert [figure["lr"] for figure in figures] == seen[STEPS - 1 :: STEPS]


@pytest.mark.parametrize("warmup", [1.0, 50.0])
def test_warm_up_as_long_as_the_phase(warmup):
    _, (figure,) = run(new_net(ONE), [Phase("full", epochs=1, lr=0.1)], settings=Settings(warmup_epochs=warmup))
    assert np.isfinite(figure["loss"])


def test_gradients_are_clipped():
    moved = {}
    for clip in (None, 1e-3):
        net = new_net(ONE)
        start = copy.deepcopy(net)
        phases = [Phase("full", epochs=1, lr=1.0)]
        settings = Settings(clip_grad=clip, weight_decay=0.0)
        run(net, phases, settings=settings, batches=one_step, steps_per_epoch=1)
        pairs = zip(net.parameters(), start.parameters(), strict=True)
        moved[clip] = sum((one - other).square().sum() for one, other in pairs).sqrt().item()
    # The first step of Nesterov's momentum moves by 1 + momentum times the gradient.
    assert moved[1e-3] == pytest.approx(1.9e-3, rel=1e-2) and moved[None] > 0.1


def test_compiled_blocks_run_where_one_network_is_trained(monkeypatch):
    """Compiled by a stand-in that counts: the real one takes minutes."""
    compiled, run_compiled = [], []

    def backend(graph, _inputs):
        compiled.append(graph)

        def call(*inputs):
            run_compiled.append(len(states))
            return graph.forward(*inputs)

        return call

    original = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: original(module, backend=backend))
    states = []
    phases = [Phase("full", epochs=2, lr=0.1), Phase("all", epochs=1, lr=0.1, kernel=2, depth=2, expand=2)]
    ends = []
    for choice in (False, True):
        net = new_net()
        run(net, phases, settings=Settings(compile=choice), on_epoch=lambda _net, phase, _: states.append(phase.name))
        ends.append(net.state_dict())
        if not choice:
            assert not compiled
            states.clear()
    assert compiled and {*run_compiled} == {0, 1}  # the two epochs of the first phase
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, rtol=1e-3, atol=1e-4)
