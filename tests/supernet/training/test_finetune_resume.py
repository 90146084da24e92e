"""Fine-tuning is what a loop written out is, and goes on after any step as if it had not been interrupted."""

import copy
import functools
from dataclasses import replace

import pytest
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import nn

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.checkpoint import from_bytes, to_bytes
from ofa.supernet.training.errors import OutOfMemory, Stopped
from ofa.supernet.training.finetune import finetune
from ofa.supernet.training.losses import SOFT_LOSSES, distillation_loss
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.step import resize, step_seed

SPACE = SearchSpace.from_dict(
    {
        "resolutions": [8, 12],
        "stem": {"width": 8, "first_width": 8},
        "stages": [{"width": 8, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3], "se": True}],
        "head": {"width": 16, "features": 16},
    }
)
STEPS, EPOCHS = 3, 2
SIZES = (12, 11, 8)  # of batches
CLIPPED = Settings(clip_grad=0.3, weight_decay=0.01)
CASES = {
    "sgd": CLIPPED,
    "adamw": replace(CLIPPED, optimizer="adamw", distill_loss="kl", distill_weight=0.5, seed=3),
    "all": replace(CLIPPED, ema=0.8, grad_accum_steps=2),
}


def batches(epoch, start=0):
    for step in range(start, STEPS):
        generator = torch.Generator().manual_seed(10 * epoch + step)
        images = torch.randint(256, (SIZES[step], 3, 12, 12), dtype=torch.uint8, generator=generator)
        yield images, torch.randint(4, (SIZES[step],), generator=generator)


def normalize(images):
    return images.float() / 64 - 2


def models(seed=0):
    """A small subnet with dropout, and the full network."""
    torch.manual_seed(seed)
    net = Supernet(SPACE, num_classes=4)
    model = net.extract(SPACE.smallest)
    model.drop_rate = 0.2
    return model, net.extract(SPACE.largest)


def run(model, teacher, settings, **options):
    """Fine-tunes; returns the checkpoints' bytes by step."""
    kept = {}
    given = {"batches": batches, "save_checkpoint": lambda one: kept.update({one.step: to_bytes(one)}), **options}
    finetune(
        model,
        teacher,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        lr=0.02,
        resolution=8,
        teacher_resolution=12,
        normalize=normalize,
        settings=settings,
        progress=False,
        **given,
    )
    return kept


@functools.cache
def uninterrupted(case):
    model, teacher = models()
    return run(model, teacher, CASES[case], checkpoint_due=lambda step: True), model.state_dict()


def assert_same(state, expected):
    assert set(state) == set(expected)
    assert [name for name in state if not torch.equal(state[name], expected[name])] == []


@pytest.mark.parametrize("case", ["sgd", "adamw"])
@pytest.mark.parametrize("taught", [True, False])
def test_it_is_the_loop_written_out(case, taught):
    settings = CASES[case]
    model, teacher = models()
    options = {"momentum": settings.momentum, "weight_decay": settings.weight_decay}
    optimizer = create_optimizer_v2(model, opt=settings.optimizer, lr=0.02, **options)
    scheduler = CosineLRScheduler(optimizer, t_initial=EPOCHS * STEPS, t_in_epochs=False)
    model.train()
    for step in range(EPOCHS * STEPS):
        images, labels = list(batches(step // STEPS))[step % STEPS]
        scheduler.step_update(step)
        torch.manual_seed(step_seed(settings.seed, step))
        soft = None
        if taught:
            with torch.no_grad():
                soft = teacher(resize(normalize(images), 12))
        loss = distillation_loss(
            model(resize(normalize(images), 8)),
            labels,
            soft,
            label_smoothing=settings.label_smoothing,
            weight=settings.distill_weight,
            soft=SOFT_LOSSES[settings.distill_loss],
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_grad)
        optimizer.step()
    mine, teacher = models()
    run(mine, teacher if taught else None, settings)
    assert_same(mine.state_dict(), model.state_dict())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stop", range(1, STEPS * EPOCHS + 1))
def test_resumed_after_any_step_it_ends_the_same(case, stop):
    kept, end = uninterrupted(case)
    assert sorted(kept) == list(range(1, STEPS * EPOCHS + 1))
    (model, _), (_, teacher) = models(seed=5), models()
    later = run(model, teacher, CASES[case], resume=from_bytes(kept[stop]))
    assert_same(model.state_dict(), end)
    assert not model.training
    assert sorted(later) == [step for step in (STEPS, 2 * STEPS) if step > stop]
    for step, content in later.items():
        assert_same(from_bytes(content).tensors, from_bytes(kept[step]).tensors)


def test_stopped_it_keeps_its_state():
    kept, _ = uninterrupted("all")
    (model, teacher), asked, stopped = models(), iter(range(1, 99)), {}
    with pytest.raises(Stopped, match=r"^in phase finetune after step 4 of 6$"):
        run(
            model,
            teacher,
            CASES["all"],
            stop=lambda: next(asked) == 4,
            save_checkpoint=lambda one: stopped.update({one.step: to_bytes(one)}),
        )
    assert sorted(stopped) == [STEPS, 4]
    assert_same(from_bytes(stopped[4]).tensors, from_bytes(kept[4]).tensors)


def test_it_ends_with_the_moving_average():
    kept, end = uninterrupted("all")
    last = from_bytes(kept[STEPS * EPOCHS])
    assert_same({name: last.tensors[f"ema.{name}"] for name in end}, end)
    before = from_bytes(kept[STEPS * EPOCHS - 1])
    name = "classifier.weight"
    assert not torch.equal(before.tensors[f"ema.{name}"], before.tensors[f"net.{name}"])


def test_the_teacher_is_not_kept():
    """It is the caller's, who has it."""
    kept, _ = uninterrupted("sgd")
    assert not [name for name in from_bytes(kept[1]).tensors if name.startswith("teacher.")]


def test_a_checkpoint_of_another_network_is_refused_before_anything_changes():
    kept, _ = uninterrupted("sgd")
    _, other = models()
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=r"^the checkpoint is of another network \(\S+: \[.*\] in the checkpoint, "):
        run(other, None, CASES["sgd"], resume=from_bytes(kept[4]))
    assert_same(other.state_dict(), before)


def test_out_of_memory_names_the_batch():
    model, _ = models()

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.conv_head.register_forward_hook(full)
    with pytest.raises(
        OutOfMemory, match=r"^out of memory in phase finetune, step 0, learning rate 0.02, 12 images of 8"
    ):
        run(model, None, CASES["sgd"])
