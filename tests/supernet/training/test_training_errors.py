"""Training when something is wrong: losses and weights that are not finite, batches without images or none at all."""

import copy
import re

import numpy as np
import pytest
import torch

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.errors import Diverged
from ofa.supernet.training.phases import Phase, attentive
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

SPACE = SearchSpace.from_dict(
    {
        "resolutions": [8, 12],
        "stem": {"width": 8, "first_width": 8},
        "stages": [{"width": 8, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3]}],
        "head": {"width": 16, "features": 16},
    }
)
STEPS = 3


def batches(epoch, start=0, *, steps=STEPS):
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(100 * epoch + step)
        images = torch.randint(256, (16, 3, 12, 12), dtype=torch.uint8, generator=generator)
        yield images, torch.randint(4, (16,), generator=generator)


def prepare(images):
    return images.float() / 64 - 1


def new_net():
    torch.manual_seed(0)
    return Supernet(SPACE, num_classes=4, drop_rate=0.2)


def run(phases, *, settings=None, **options):
    """Trains; returns deep copies of the checkpoints, and the epochs' figures."""
    kept, figures = [], []
    given = {
        "batches": batches,
        "steps_per_epoch": STEPS,
        "normalize": prepare,
        "save_checkpoint": lambda checkpoint: kept.append(copy.deepcopy(checkpoint)),
        "on_epoch": lambda _net, _phase, epoch: figures.append(epoch),
    }
    train_supernet(new_net(), phases, settings=settings or Settings(), progress=False, **given | options)
    return kept, figures


def test_nan_loss_stops_with_where_and_why():
    seen, bad_step = [], 4  # of phase "next", which comes after 2 epochs of 3 steps
    phases = [Phase("full", epochs=2, lr=0.1), Phase("next", epochs=3, lr=0.1, subnets=2, kernel=2)]
    count = iter(range(1000))

    def spoiled(images):
        return prepare(images) * (float("nan") if next(count) == 6 + bad_step else 1)

    with pytest.raises(Diverged) as caught:
        run(phases, normalize=spoiled, save_checkpoint=lambda checkpoint: seen.append(copy.deepcopy(checkpoint)))
    lr = 0.05 * (1 + np.cos(np.pi * bad_step / 9))
    subnet = r'subnet \{"resolution": (8|12), "depths": .*\}'
    pattern = rf"the loss is nan in phase next, step {bad_step}, learning rate {lr:.3g}, {subnet}; lower the learning"
    assert re.match(pattern, str(caught.value)), caught.value
    assert [(checkpoint.phase, checkpoint.step) for checkpoint in seen] == [(0, 3), (0, 6), (1, 3)]
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
        run(
            phases,
            batches=lambda epoch, start: batches(epoch, start, steps=steps),
            steps_per_epoch=steps,
            normalize=lambda images: prepare(images) * (scale if seen else 1),
            settings=Settings(distill_weight=0.0),
            save_checkpoint=lambda checkpoint: seen.append(copy.deepcopy(checkpoint)),
        )
    assert [checkpoint.phase for checkpoint in seen] == [0]
    assert all(tensor.isfinite().all() for tensor in seen[0].tensors.values())


@pytest.mark.parametrize("why", ["due", "stopped"])
def test_divergence_never_leaves_a_bad_checkpoint_between_epochs(why):
    seen, counted = [], iter(range(1, 100))
    phases = [Phase("full", epochs=1, lr=0.1), Phase("wild", epochs=1, lr=float("inf"))]
    options = {"checkpoint_due": lambda step: True} if why == "due" else {"stop": lambda: next(counted) == STEPS + 1}
    with pytest.raises(Diverged, match=r"phase wild, step \d, learning rate inf"):
        run(phases, save_checkpoint=lambda checkpoint: seen.append(copy.deepcopy(checkpoint)), **options)
    assert {checkpoint.phase for checkpoint in seen} == {0}
    assert all(tensor.isfinite().all() for checkpoint in seen for tensor in checkpoint.tensors.values())


def test_a_batch_without_images_changes_no_weight():
    def given(epoch, start):
        for step, (images, labels) in enumerate(batches(epoch, start), start):
            yield (images[:0], labels[:0]) if step == 1 else (images, labels)

    phases = [Phase("a", epochs=2, lr=0.1)]
    checkpoints, figures = run(phases, batches=given, checkpoint_due=lambda step: True)
    assert [checkpoint.global_step for checkpoint in checkpoints] == list(range(1, 2 * STEPS + 1))
    for first, empty, last in (checkpoints[:3], checkpoints[3:]):
        weights = [name for name in first.tensors if name.startswith("net.") or "momentum" in name]
        assert len(weights) > 50 and all(torch.equal(empty.tensors[name], first.tensors[name]) for name in weights)
        assert not torch.equal(last.tensors["net.model.conv_stem.weight"], empty.tensors["net.model.conv_stem.weight"])
    assert [round(figure["images_per_second"] * figure["seconds"]) for figure in figures] == [32, 32]
    assert all(figure["loss"] > 1 for figure in figures)


def test_batches_that_give_nothing_are_an_error():
    phases = [Phase("a", epochs=3, lr=0.1)]
    with pytest.raises(ValueError, match=r"^batches gave nothing for epoch 1 from step 0 on"):
        run(phases, batches=lambda epoch, start: batches(epoch) if epoch < 1 else ())


def test_attentive_sampling_without_macs_says_what_is_missing():
    with pytest.raises(ValueError, match=r"^sampling best_up needs `macs`: for instance CostTable"):
        run(attentive(SPACE, epochs=1, lr=0.1))
