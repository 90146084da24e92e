"""Training that was stopped and goes on ends in the same bits as training that was not."""

import functools
import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from shared_spaces import SMALL as SPACE

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.threads import Threads
from ofa.supernet.training.checkpoint import from_bytes, to_bytes
from ofa.supernet.training.errors import Stopped
from ofa.supernet.training.phases import Phase, attentive, auto, progressive_shrinking, sandwich
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

STEPS = 2
SHRINKING = tuple(replace(phase, epochs=2) for phase in progressive_shrinking(SPACE, epochs=2, lr=0.1))
EPOCH_ENDS = tuple(range(2, 17, 2))
MIDDLES = (1, 5, 7, 9, 11, 13, 15)  # of epochs; phases begin after 4, 8 and 12, all but the first with a teacher


@dataclass(frozen=True)
class Case:
    phases: tuple[Phase, ...]
    settings: Settings
    stops: tuple[int, ...]


def slower(phases):
    return tuple(replace(phase, lr=phase.lr / 20) for phase in phases)


PLAIN = Settings(warmup_epochs=1, clip_grad=5.0)
ALL = replace(PLAIN, ema=0.9, mixup=0.2, cutmix=1.0, grad_accum_steps=2)
CASES = {
    "sgd": Case(SHRINKING, PLAIN, EPOCH_ENDS + MIDDLES),
    "adamw": Case(slower(SHRINKING), replace(PLAIN, optimizer="adamw"), EPOCH_ENDS[::2] + MIDDLES[1::2]),
    "sgd, layers": Case(SHRINKING[:2], replace(PLAIN, layer_decay=0.8), (1, 5)),
    "sgd, all": Case(SHRINKING, ALL, EPOCH_ENDS[1::2] + MIDDLES),
    "adamw, all": Case(slower(SHRINKING), replace(ALL, optimizer="adamw"), EPOCH_ENDS[1::2] + MIDDLES[::2]),
    "auto": Case(auto(SPACE, epochs=3, lr=0.05), Settings(), (1, 2, 3, 4)),
    "sandwich": Case(sandwich(SPACE, epochs=3, lr=0.05), PLAIN, (1, 4)),
    "sandwich, all": Case(sandwich(SPACE, epochs=3, lr=0.05), replace(ALL, distill_loss="kl"), (2, 3, 5)),
    "attentive": Case(attentive(SPACE, epochs=3, lr=0.05), replace(PLAIN, distill_loss="alpha"), (1, 4)),
    "attentive, all": Case(attentive(SPACE, epochs=3, lr=0.05), replace(ALL, distill_loss="alpha"), (2, 3, 5)),
}


def batches(epoch, start):
    for step in range(start, STEPS):
        generator = torch.Generator().manual_seed(STEPS * epoch + step)
        images = torch.randint(256, (12, 3, 12, 12), dtype=torch.uint8, generator=generator)
        yield images, torch.randint(4, (12,), generator=generator)


def new_net(seed=0):
    torch.manual_seed(seed)
    return Supernet(SPACE, num_classes=4, drop_rate=0.2, drop_path_rate=0.1)


def run(net, case, **options):
    """Trains; returns the checkpoints' bytes by step, and the epochs' figures."""
    kept, figures = {}, []
    train_supernet(
        net,
        case.phases,
        options.pop("batches", batches),
        steps_per_epoch=STEPS,
        normalize=lambda images: images.float() / 64 - 2,
        settings=case.settings,
        macs=lambda codes: codes.sum(axis=1).astype(float),
        save_checkpoint=lambda checkpoint: kept.update({checkpoint.global_step: to_bytes(checkpoint)}),
        on_epoch=lambda _net, _phase, epoch: figures.append(epoch),
        progress=False,
        **options,
    )
    return kept, figures


@functools.cache
def uninterrupted(name):
    net = new_net()
    kept, figures = run(net, CASES[name], checkpoint_due=lambda step: True)
    return kept, figures, net.state_dict()


def assert_same(state, expected):
    assert set(state) == set(expected)
    different = [name for name, tensor in expected.items() if not torch.equal(state[name], tensor)]
    assert not different, different


def told(figures):
    """What of the figures no clock decides."""
    return [
        (one["phase"], one["epoch"], one["loss"], one["lr"], round(one["images_per_second"] * one["seconds"]))
        for one in figures
    ]


@pytest.mark.parametrize(("name", "stop"), [(name, stop) for name, case in CASES.items() for stop in case.stops])
def test_resumed_after_any_step_it_ends_the_same(name, stop):
    kept, figures, state = uninterrupted(name)
    net, asked = new_net(seed=5), []

    def given(epoch, start):
        asked.append((epoch, start))
        return batches(epoch, start)

    later, later_figures = run(net, CASES[name], batches=given, resume=from_bytes(kept[stop]))
    assert_same(net.state_dict(), state)
    done, within = divmod(stop, STEPS)
    assert asked == [(epoch, within if epoch == done else 0) for epoch in range(done, len(figures))]
    assert told(later_figures) == told(figures[done:])
    assert sorted(later) == [step for step in kept if step > stop and step % STEPS == 0]
    for step, content in later.items():
        assert_same(from_bytes(content).tensors, from_bytes(kept[step]).tensors)


def test_every_step_and_setting_matters():
    """What the test above shows hangs on states that differ from step to step and from case to case."""
    ends = []
    for name in CASES:
        kept, figures, state = uninterrupted(name)
        assert sorted(kept) == list(range(1, STEPS * len(figures) + 1))
        weights = [from_bytes(content).tensors["net.model.conv_stem.weight"] for content in kept.values()]
        # The first step's rate may be 0: others begin with the second.
        assert not any(torch.equal(one, other) for one, other in itertools.pairwise(weights[1:]))
        ends.append(state["model.conv_stem.weight"])
    assert not any(torch.equal(one, other) for number, one in enumerate(ends) for other in ends[:number])


@pytest.mark.parametrize("name", ["sgd, all", "attentive, all"])
@pytest.mark.parametrize("step", [3, 4, 5])
def test_stopped_it_keeps_the_state_and_goes_on_to_the_same_end(name, step):
    kept, _, state = uninterrupted(name)
    net, asked, stopped = new_net(), iter(range(1, 100)), {}
    with pytest.raises(Stopped, match=f"after step {(step - 1) % 4 + 1 if name.startswith('sgd') else step} of "):
        train_supernet(
            net,
            CASES[name].phases,
            batches,
            steps_per_epoch=STEPS,
            normalize=lambda images: images.float() / 64 - 2,
            settings=CASES[name].settings,
            macs=lambda codes: codes.sum(axis=1).astype(float),
            save_checkpoint=lambda checkpoint: stopped.update({checkpoint.global_step: to_bytes(checkpoint)}),
            stop=lambda: next(asked) == step,
            progress=False,
        )
    assert list(stopped) == sorted({*range(STEPS, step, STEPS), step})
    assert_same(from_bytes(stopped[step]).tensors, from_bytes(kept[step]).tensors)
    net = new_net(seed=5)
    run(net, CASES[name], resume=from_bytes(stopped[step]))
    assert_same(net.state_dict(), state)


def test_a_checkpoint_of_another_space_is_refused_before_anything_changes():
    kept, _, _ = uninterrupted("sgd")
    smaller = SPACE.to_dict() | {"resolutions": [12]}
    net = Supernet(SearchSpace.from_dict(smaller), num_classes=4)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"another space \(space\.resolutions: \[8, 12\] in the checkpoint, \[12\] here\)"
    ):
        run(net, CASES["sgd"], resume=from_bytes(kept[5]))
    assert_same(net.state_dict(), before)


class Measured(Threads):
    """Measures in every step."""

    def __init__(self):
        super().__init__((1,))
        self.trials, self.told_of = 0, []

    @property
    def chooses(self):
        return True

    def due(self):
        return True

    def measure(self, trial):
        trial()
        self.trials += 1

    def took(self, seconds, work):
        self.told_of.append(work)


@pytest.mark.parametrize("name", ["sgd, all", "attentive, all"])
def test_measuring_threads_leaves_no_trace(name):
    kept, _, state = uninterrupted(name)
    net, threads = new_net(), Measured()
    mine, figures = run(net, CASES[name], threads=threads)
    assert threads.trials == len(threads.told_of) == len(kept) and min(threads.told_of) > 0
    assert_same(net.state_dict(), state)
    assert {one["threads"] for one in figures} == {1}
    assert all(from_bytes(content).values["threads"] == threads.state for content in mine.values())
