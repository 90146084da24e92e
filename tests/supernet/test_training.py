"""The training loop on a tiny space and made-up images: it learns, repeats itself bit for bit, and stops in time."""

import copy
import functools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training import loop
from ofa.supernet.training.checkpoint import part, read_checkpoint, write_checkpoint
from ofa.supernet.training.loop import Diverged, Settings, resize, train
from ofa.supernet.training.losses import distillation_loss, soft_cross_entropy
from ofa.supernet.training.phases import Phase, progressive_shrinking

SPACE = SearchSpace.from_dict(
    {
        "resolutions": [8, 12],
        "stem": {"width": 8, "first_width": 8},
        "stages": [
            {"width": 8, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3]},
            {"width": 16, "stride": 2, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4], "se": True},
        ],
        "head": {"width": 32, "features": 32},
    }
)
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


def batches(epoch, *, steps=STEPS, n=16):
    """Four classes, told apart by the bright quadrant; the epoch decides the draw."""
    rng = np.random.default_rng([1, epoch])
    for _ in range(steps):
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


def run(net, phases=PHASES, *, settings=None, **options):
    """Trains; returns deep copies of every epoch's checkpoint, and the epochs' figures."""
    checkpoints, figures = [], []

    def keep(checkpoint, figure):
        checkpoints.append(copy.deepcopy(checkpoint))
        figures.append(figure)

    given = {"batches": batches, "steps": STEPS, "prepare": prepare, **options}
    train(net, phases, settings=settings or Settings(), on_epoch=keep, progress=False, **given)
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
    assert [(checkpoint.phase, checkpoint.epoch) for checkpoint in checkpoints] == positions
    assert [(figure["phase"], figure["epoch"]) for figure in figures] == [(phases[n].name, e) for n, e in positions]
    for figure in figures:
        assert set(figure) == {"phase", "epoch", "loss", "lr", "images_per_second", "seconds"}
        assert figure["images_per_second"] == pytest.approx(16 * STEPS / figure["seconds"])


def test_it_learns():
    net = new_net()
    phases = [Phase("full", epochs=12, lr=0.2), Phase("all", epochs=6, lr=0.1, subnets=2, kernel=2, depth=2, expand=2)]
    _, figures = run(net, phases, settings=Settings(label_smoothing=0.0, distill=0.0))
    losses = [figure["loss"] for figure in figures]
    assert losses[0] > 1 and losses[11] < 0.4 and losses[-1] < 0.5, losses


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


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resumed_from_any_epoch_it_ends_the_same(optimizer, tmp_path):
    settings, phases, checkpoints, figures, state = uninterrupted(optimizer)
    # An optimizer's own state matters in the middle of a phase.
    for number, checkpoint in [*enumerate(checkpoints)][:: 1 if optimizer == "sgd" else 2]:
        write_checkpoint(tmp_path / "checkpoint.safetensors", checkpoint)
        net, asked = new_net(seed=5), []

        def given(epoch, asked=asked):
            asked.append(epoch)
            return batches(epoch)

        resume = read_checkpoint(tmp_path / "checkpoint.safetensors")
        later, later_figures = run(net, phases, settings=settings, batches=given, resume=resume)
        assert asked == list(range(number + 1, len(checkpoints)))
        for one, other in zip(later, checkpoints[number + 1 :], strict=True):
            assert_same(one.tensors, other.tensors)
        for one, other in zip(later_figures, figures[number + 1 :], strict=True):
            assert (one["loss"], one["lr"]) == (other["loss"], other["lr"])
        assert_same(net.state_dict(), state)


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


def test_distillation_asks_the_teacher_in_eval_mode():
    _, phases, checkpoints, _, _ = uninterrupted("sgd")
    settings = Settings(distill=0.7, label_smoothing=0.2)
    one_step = [phases[0], Phase("next", epochs=1, lr=0.1)]
    net = new_net(seed=3)
    net.model.drop_rate = 0.0
    _, (figure,) = run(
        net,
        one_step,
        settings=settings,
        resume=checkpoints[1],
        batches=lambda epoch: batches(epoch, steps=1),
        steps=1,
    )

    ((images, labels),) = batches(2, steps=1)
    losses = []
    for resolution in SPACE.resolutions:  # which one the step drew does not matter here
        other = new_net(seed=3)
        other.model.drop_rate = 0.0
        other.load_state_dict(part(checkpoints[1].tensors, "net"))
        x = resize(prepare(images), resolution)
        with torch.no_grad():
            soft = other.extract(SPACE.largest)(x).softmax(1)
            logits = other.train()(x)
        hard = F.cross_entropy(logits, labels, label_smoothing=0.2)
        losses.append(float(hard - 0.7 * (soft * logits.log_softmax(1)).sum(1).mean()))
    assert min(abs(figure["loss"] - loss) for loss in losses) < 1e-5, (figure["loss"], losses)


def test_gradients_are_averaged_over_subnets():
    start = new_net(ONE).state_dict()
    ends = []
    for subnets in (1, 3):  # of a space with one network: three times the same
        net = new_net(ONE)
        net.model.drop_rate = 0.0
        phases = [Phase("full", epochs=1, lr=0.5, subnets=subnets)]
        run(net, phases, batches=lambda epoch: batches(epoch, steps=1), steps=1)
        ends.append(dict(net.named_parameters()))
    for name, parameter in ends[0].items():
        assert not torch.equal(parameter, start[name]), name
        torch.testing.assert_close(parameter, ends[1][name], rtol=1e-5, atol=1e-6)


def test_weight_decay_is_for_matrices_that_are_not_kernel_transforms(monkeypatch):
    optimizers = []

    def spy(*args, **options):
        optimizers.append(loop_create(*args, **options))
        return optimizers[-1]

    loop_create = loop.create_optimizer_v2
    monkeypatch.setattr(loop, "create_optimizer_v2", spy)
    net = new_net()
    run(net, PHASES, settings=Settings(weight_decay=0.01), batches=lambda epoch: batches(epoch, steps=1), steps=1)
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


def test_learning_rate_warms_up_and_ends_at_zero(monkeypatch):
    seen = []

    def step(_net, _teacher, optimizer, *_rest):
        seen.append(optimizer.param_groups[0]["lr"])
        return original(_net, _teacher, optimizer, *_rest)

    original = loop._step
    monkeypatch.setattr(loop, "_step", step)
    phases = [Phase("full", epochs=4, lr=0.4), Phase("next", epochs=2, lr=0.1)]
    _, figures = run(new_net(ONE), phases, settings=Settings(warmup_epochs=1.0))
    first, second = np.array(seen[: 4 * STEPS]), np.array(seen[4 * STEPS :])
    cosine = [0.5 * (1 + np.cos(np.pi * step / (3 * STEPS))) for step in range(3 * STEPS)]
    assert first == pytest.approx(0.4 * np.array([*np.arange(STEPS) / STEPS, *cosine]))
    assert second == pytest.approx(0.05 * (1 + np.cos(np.pi * np.arange(2 * STEPS) / (2 * STEPS))))
    assert figures[3]["lr"] == figures[5]["lr"] == 0


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
        run(net, phases, settings=settings, batches=lambda epoch: batches(epoch, steps=1), steps=1)
        pairs = zip(net.parameters(), start.parameters(), strict=True)
        moved[clip] = sum((one - other).square().sum() for one, other in pairs).sqrt().item()
    # The first step of Nesterov's momentum moves by 1 + momentum times the gradient.
    assert moved[1e-3] == pytest.approx(1.9e-3, rel=1e-2) and moved[None] > 0.1


def test_nan_loss_stops_with_where_and_why():
    seen, bad_step = [], 4  # of phase "next", which comes after 2 epochs of 3 steps
    phases = [Phase("full", epochs=2, lr=0.1), Phase("next", epochs=3, lr=0.1, subnets=2, kernel=2)]
    count = iter(range(1000))

    def spoiled(images):
        return prepare(images) * (float("nan") if next(count) == 6 + bad_step else 1)

    with pytest.raises(Diverged) as caught:
        train(
            new_net(),
            phases,
            batches,
            steps=STEPS,
            prepare=spoiled,
            settings=Settings(),
            on_epoch=lambda checkpoint, _: seen.append(copy.deepcopy(checkpoint)),
            progress=False,
        )
    lr = 0.05 * (1 + np.cos(np.pi * bad_step / 9))
    subnet = r'subnet \{"resolution": (8|12), "depths": .*\}'
    pattern = rf"the loss is nan in phase next, step {bad_step}, learning rate {lr:.3g}, {subnet}; lower the learning"
    assert re.match(pattern, str(caught.value)), caught.value
    assert [(checkpoint.phase, checkpoint.epoch) for checkpoint in seen] == [(0, 1), (0, 2), (1, 1)]
    for checkpoint in seen:
        assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())


@pytest.mark.parametrize(
    "steps, lr, scale, words",
    [
        (2, float("inf"), 1, "the loss is nan in phase wild, step 1, learning rate inf"),
        # The loss of the last step is finite: what it left behind is not.
        (1, float("inf"), 1, "the weights are no longer finite after epoch 1 of phase wild, step 0, learning rate inf"),
        (1, 0.1, 1e25, "the weights are no longer finite after epoch 1 of phase wild, step 0, learning rate 0.1"),
    ],
)
def test_divergence_never_leaves_a_bad_checkpoint(steps, lr, scale, words):
    seen = []
    phases = [Phase("full", epochs=1, lr=0.1), Phase("wild", epochs=1, lr=lr)]
    with pytest.raises(Diverged, match=f"^{re.escape(words)}.*clip_grad"):
        train(
            new_net(),
            phases,
            lambda epoch: batches(epoch, steps=steps),
            steps=steps,
            prepare=lambda images: prepare(images) * (scale if seen else 1),
            settings=Settings(distill=0.0),
            on_epoch=lambda checkpoint, _: seen.append(copy.deepcopy(checkpoint)),
            progress=False,
        )
    assert [checkpoint.phase for checkpoint in seen] == [0]
    assert all(tensor.isfinite().all() for tensor in seen[0].tensors.values())


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


def test_losses_are_their_formulas():
    torch.manual_seed(0)
    logits, teacher, labels = torch.randn(5, 4), torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    soft = -(teacher.exp() / teacher.exp().sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(soft_cross_entropy(logits, teacher), soft)
    wanted = torch.full((5, 4), 0.1 / 4)
    wanted[torch.arange(5), labels] += 0.9
    hard = -(wanted * logits.log_softmax(1)).sum(1).mean()
    given = {"label_smoothing": 0.1, "weight": 0.5}
    torch.testing.assert_close(distillation_loss(logits, labels, None, **given), hard)
    torch.testing.assert_close(distillation_loss(logits, labels, teacher, **given), hard + 0.5 * soft)
    # The teacher's own logits are the best answer to it.
    assert soft_cross_entropy(teacher, teacher) < soft_cross_entropy(logits, teacher)
