"""Fine-tuning an extracted subnet on made-up images: it learns from labels and teacher, and repeats itself."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from shared_spaces import SMALL as SPACE
from torch.nn import functional as F

from ofa.supernet.supernet import Supernet
from ofa.supernet.threads import Threads
from ofa.supernet.training import distributed
from ofa.supernet.training import finetune as module
from ofa.supernet.training import state as train_state
from ofa.supernet.training.errors import Diverged
from ofa.supernet.training.finetune import finetune
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.step import resize

STEPS = 3
LABELS_ONLY = Settings(label_smoothing=0.0, distill_weight=0.0)


def batches(epoch, start=0, *, steps=STEPS, n=16):
    """Four classes, told apart by the bright quadrant; the epoch decides the draw."""
    rng = np.random.default_rng([1, epoch])
    for step in range(steps):
        labels = rng.integers(0, 4, n)
        images = rng.integers(0, 120, size=(n, 3, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 6 * (label // 2) :, :][:, :6, 6 * (label % 2) :][:, :, :6] += 100
        if step >= start:
            yield torch.from_numpy(images), torch.from_numpy(labels)


def prepare(images):
    return images.float() / 64 - 1


def models(*, seed=0, drop_rate=0.2):
    """A small subnet, with dropout, and the full network of the same supernet."""
    torch.manual_seed(seed)
    net = Supernet(SPACE, num_classes=4)
    model, teacher = (net.extract(subnet) for subnet in (SPACE.smallest, SPACE.largest))
    model.drop_rate = drop_rate
    return model, teacher


def run(model, teacher=None, *, settings=LABELS_ONLY, **options):
    """Fine-tunes; returns the epochs' figures."""
    figures = []
    given = {
        "batches": batches,
        "epochs": 2,
        "steps_per_epoch": STEPS,
        "lr": 0.1,
        "resolution": 8,
        "normalize": prepare,
        **options,
    }
    finetune(model, teacher, settings=settings, on_epoch=figures.append, progress=False, **given)
    return figures


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(state, expected):
    assert set(state) == set(expected)
    different = [name for name, tensor in expected.items() if not torch.equal(state[name], tensor)]
    assert not different, different


@pytest.mark.parametrize("optimizer, lr", [("sgd", 0.2), ("adamw", 0.01)])
def test_it_learns_from_labels(optimizer, lr):
    model, _ = models()
    figures = run(model, epochs=12, lr=lr, settings=replace(LABELS_ONLY, optimizer=optimizer))
    losses = [figure["loss"] for figure in figures]
    assert losses[0] > 1 and losses[-1] < 0.4, losses
    assert type(model) is timm.models.MobileNetV3 and not any(part.training for part in model.modules())
    ((images, labels),) = batches(99, steps=1, n=200)
    with torch.no_grad():
        assert (model(resize(prepare(images), 8)).argmax(1) == labels).float().mean() > 0.9


def test_it_learns_from_the_teacher_alone():
    _, teacher = models(seed=1)
    run(teacher, epochs=12, lr=0.2, resolution=12)
    model, _ = models()

    def wrong_labels(epoch, start):
        return ((images, torch.zeros_like(labels)) for images, labels in batches(epoch))

    settings = Settings(distill_weight=20.0)
    run(model, teacher, batches=wrong_labels, epochs=12, lr=0.01, teacher_resolution=12, settings=settings)
    ((images, labels),) = batches(99, steps=1, n=200)
    with torch.no_grad():
        assert (model(resize(prepare(images), 8)).argmax(1) == labels).float().mean() > 0.8


def test_epochs_are_reported():
    figures = run(models()[0], epochs=3)
    assert [(figure["phase"], figure["epoch"]) for figure in figures] == [("finetune", epoch) for epoch in (1, 2, 3)]
    for figure in figures:
        assert set(figure) == {
            *("phase", "epoch", "loss", "lr", "threads"),
            *("images_per_second", "seconds", "seconds_left"),
        }
        assert figure["images_per_second"] == pytest.approx(16 * STEPS / figure["seconds"])


def test_same_seed_same_bits_whatever_the_global_state():
    ends = []
    for global_seed, seed in ((0, 0), (99, 0), (0, 1)):
        model, teacher = models()
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        figures = run(model, teacher, settings=Settings(optimizer="adamw", clip_grad=5.0, seed=seed), lr=0.01)
        assert torch.equal(torch.get_rng_state(), before)
        ends.append((state_of(model), [figure["loss"] for figure in figures]))
    (first, losses), (again, losses_again), (other, _) = ends
    assert_same(again, first)
    assert losses_again == losses
    assert not torch.equal(other["classifier.weight"], first["classifier.weight"]), "the seed decides the dropout"


def test_teacher_stays_as_it_is_and_in_eval_mode():
    model, teacher = models()
    before, start = state_of(teacher), state_of(model)
    run(model, teacher.train(), settings=Settings())
    assert_same(state_of(teacher), before)  # its batch norm statistics, too
    assert not teacher.training and all(parameter.grad is None for parameter in teacher.parameters())
    assert not torch.equal(model.bn1.running_mean, start["bn1.running_mean"])
    assert not torch.equal(model.bn1.weight, start["bn1.weight"])


@pytest.mark.parametrize("resolution, teacher_resolution", [(8, None), (8, 12), (12, 8), (12, 12)])
def test_loss_is_that_of_labels_and_teacher_each_at_its_resolution(resolution, teacher_resolution):
    model, teacher = models(drop_rate=0.0)
    before = copy.deepcopy(model).train()
    options = {"resolution": resolution, "teacher_resolution": teacher_resolution}
    settings = Settings(label_smoothing=0.2, distill_weight=0.7)
    one = {"batches": lambda epoch, start: batches(epoch, steps=1), "epochs": 1, "steps_per_epoch": 1}
    (figure,) = run(model, teacher, settings=settings, **one, **options)

    ((images, labels),) = batches(0, steps=1)
    with torch.no_grad():
        logits = before(resize(prepare(images), resolution))
        soft = teacher(resize(prepare(images), teacher_resolution or resolution)).softmax(1)
    hard = F.cross_entropy(logits, labels, label_smoothing=0.2)
    expected = hard - 0.7 * (soft * logits.log_softmax(1)).sum(1).mean()
    assert figure["loss"] == pytest.approx(float(expected), abs=1e-5)


def test_soft_loss_is_the_settings():
    losses = {}
    for name, distill in (("soft_ce", 1.0), ("kl", 1.0), ("kl", 0.0)):
        model, teacher = models(drop_rate=0.0)
        one = {"batches": lambda epoch, start: batches(epoch, steps=1), "epochs": 1, "steps_per_epoch": 1}
        (figure,) = run(model, teacher, settings=Settings(distill_loss=name, distill_weight=distill), **one)
        losses[name, distill] = figure["loss"]
    ((images, _),) = batches(0, steps=1)
    with torch.no_grad():
        soft = teacher(resize(prepare(images), 8)).softmax(1)
    entropy = -(soft * soft.log()).sum(1).mean()
    assert losses["soft_ce", 1.0] - losses["kl", 1.0] == pytest.approx(float(entropy), abs=1e-5)
    assert losses["kl", 1.0] > losses["kl", 0.0]


def test_without_weight_the_teacher_is_not_asked():
    (one, teacher), (other, _) = models(), models()
    teacher.forward = None
    run(one, teacher)
    run(other, None)
    assert_same(state_of(one), state_of(other))


@pytest.mark.parametrize("empty", [{0}, {2}, {0, 1, 2}, set()])
def test_empty_batches_are_skipped(empty):
    def given(epoch, start):
        for index, (images, labels) in enumerate(batches(epoch)):
            skipped = index in empty and epoch == 0
            yield (images[:0], labels[:0]) if skipped else (images, labels)

    model, teacher = models()
    start = state_of(model)
    first, second = run(model, teacher, batches=given, settings=Settings())
    assert model.bn1.num_batches_tracked - start["bn1.num_batches_tracked"] == 2 * STEPS - len(empty)
    assert (first["loss"] is None) == (len(empty) == STEPS) and np.isfinite(second["loss"])
    assert first["images_per_second"] == pytest.approx(16 * (STEPS - len(empty)) / first["seconds"])


def test_learning_rate_is_a_cosine_over_steps_without_warm_up(monkeypatch):
    seen, original = [], module.finetuning_step

    def step(state, batch, **options):
        seen.append(state.lr)
        return original(state, batch, **options)

    monkeypatch.setattr(module, "finetuning_step", step)
    run(models()[0], epochs=4, lr=0.4, settings=replace(LABELS_ONLY, warmup_epochs=2.0))
    assert seen == pytest.approx(0.2 * (1 + np.cos(np.pi * np.arange(4 * STEPS) / (4 * STEPS))))


def test_weight_decay_is_for_matrices_alone(monkeypatch):
    optimizers, original = [], train_state.make_optimizer

    def spy(*args, **options):
        optimizers.append(original(*args, **options))
        return optimizers[-1]

    monkeypatch.setattr(train_state, "make_optimizer", spy)
    model, _ = models()
    run(model, settings=replace(LABELS_ONLY, weight_decay=0.01))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    (optimizer,) = optimizers
    decays = {names[id(one)]: group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
    assert decays == {name: 0.01 if weight.ndim > 1 else 0 for name, weight in model.named_parameters()}


def test_gradients_are_clipped():
    moved = {}
    for clip in (None, 1e-3):
        model, _ = models(drop_rate=0.0)
        start = copy.deepcopy(model)
        settings = replace(LABELS_ONLY, clip_grad=clip, weight_decay=0.0)
        run(
            model,
            settings=settings,
            lr=1.0,
            epochs=1,
            steps_per_epoch=1,
            batches=lambda epoch, start: batches(epoch, steps=1),
        )
        pairs = zip(model.parameters(), start.parameters(), strict=True)
        moved[clip] = sum((one - other).square().sum() for one, other in pairs).sqrt().item()
    # The first step of Nesterov's momentum moves by 1 + momentum times the gradient.
    assert moved[1e-3] == pytest.approx(1.9e-3, rel=1e-2) and moved[None] > 0.1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_with_where_and_why(bad):
    count, seen, model = iter(range(1000)), [], models()[0]

    def spoiled(images):
        return prepare(images) * (bad if next(count) == 4 else 1)

    lr = 0.05 * (1 + np.cos(np.pi * 4 / 9))
    words = f"the loss is nan in phase finetune, step 4, learning rate {lr:.3g}; lower the learning rate"
    with pytest.raises(Diverged, match=f"^{re.escape(words)}.*clip_grad"):
        finetune(
            model,
            None,
            batches,
            epochs=3,
            steps_per_epoch=STEPS,
            lr=0.1,
            resolution=8,
            normalize=spoiled,
            settings=LABELS_ONLY,
            progress=False,
            on_epoch=seen.append,
        )
    assert [figure["epoch"] for figure in seen] == [1]


def test_a_loss_that_is_not_finite_on_another_rank_ends_training_here_too(monkeypatch):
    monkeypatch.setattr(distributed, "average_gradients", lambda parameters, *, images, sums: (images, [np.nan, 0.0]))
    model = models()[0]
    with pytest.raises(Diverged, match=r"^the loss is nan in phase finetune, step 0, "):
        run(model)


def test_weights_that_are_not_finite_after_the_last_step():
    words = "the weights are no longer finite after epoch 1 of phase finetune"
    with pytest.raises(Diverged, match=words):
        run(
            models()[0],
            lr=float("inf"),
            epochs=1,
            steps_per_epoch=1,
            batches=lambda epoch, start: batches(epoch, steps=1),
        )


def test_measuring_threads_leaves_no_trace(monkeypatch):
    trials = []
    monkeypatch.setattr(Threads, "due", lambda self: True)
    monkeypatch.setattr(Threads, "measure", lambda self, trial: trials.append(trial()))
    model, teacher = models()
    run(model, teacher, settings=Settings(clip_grad=1.0))
    monkeypatch.undo()
    assert len(trials) > STEPS - 1
    plain, teacher = models()
    run(plain, teacher, settings=Settings(clip_grad=1.0))
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in model.state_dict().items())
