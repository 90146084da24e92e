"""What training changes goes into a checkpoint and comes back, a second optimizer of a step function included."""

import copy
import functools
import itertools
import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ofa.supernet.threads import Threads
from ofa.supernet.training import loop
from ofa.supernet.training.checkpoint import from_bytes, to_bytes
from ofa.supernet.training.errors import Stopped
from ofa.supernet.training.loop import Hooks
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.state import TrainState
from ofa.supernet.training.step import apply_gradients

STEPS = 3
PHASES = (Phase("a", epochs=2, lr=0.05), Phase("b", epochs=1, lr=0.02))
TOTAL = 9
SETTINGS = Settings(warmup_epochs=1, clip_grad=1.0, ema=0.9)


class Mixture(nn.Module):
    """A weighted sum of two operations: what differentiable search relaxes a choice to."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(12, 8), nn.Linear(12, 8)
        self.norm, self.classifier = nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, images, logits):
        images = F.dropout(images.flatten(1), 0.2, self.training)
        weights = logits.softmax(dim=0)
        return self.classifier(self.norm(weights[0] * self.one(images) + weights[1] * self.two(images).relu()))


class Architecture(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(2))


def bilevel_step(state, batch):
    """First-order DARTS: the architecture learns from the second half of the data, then the weights from the first."""
    logits, architect = state.modules["architecture"].logits, state.optimizers["architecture"]
    images, labels = normalize(batch.others[0]), batch.others[1]
    architect.zero_grad()
    F.cross_entropy(state.net(images, logits), labels).backward()
    apply_gradients(state, architect, [logits], images=len(labels))
    state.optimizer.zero_grad()
    loss = F.cross_entropy(state.net(batch.images, logits.detach()), batch.labels)
    loss.backward()
    return loss.item()


def normalize(images):
    return images.float() / 64 - 2


def batches(epoch, start):
    for step in range(start, STEPS):
        generator = torch.Generator().manual_seed(10 * epoch + step)
        pairs = [
            (
                torch.randint(256, (8, 3, 2, 2), dtype=torch.uint8, generator=generator),
                torch.randint(4, (8,), generator=generator),
            )
            for _ in range(2)
        ]
        yield *pairs[0], *pairs[1]


def new_state(*, seed=0, optimizer="sgd", **options):
    torch.manual_seed(seed)
    net, architecture = Mixture(), Architecture()
    return TrainState(
        net=net,
        phases=PHASES,
        steps_per_epoch=STEPS,
        settings=replace(SETTINGS, optimizer=optimizer),
        modules={"architecture": architecture},
        optimizers={"architecture": torch.optim.Adam(architecture.parameters(), lr=0.1)},
        **options,
    )


def run(state, **hooks):
    """Trains; returns the checkpoints' bytes by step, and what of the epochs' figures no clock decides."""
    kept, figures = {}, []

    def told(_, figure):
        figures.append({key: figure[key] for key in ("phase", "epoch", "loss", "lr")})

    hooks = {"save_checkpoint": lambda one: kept.update({one.global_step: to_bytes(one)}), "on_epoch": told} | hooks
    loop.train(state, bilevel_step, batches, normalize=normalize, hooks=Hooks(**hooks), progress=False)
    return kept, figures


@functools.cache
def uninterrupted(optimizer):
    state = new_state(optimizer=optimizer)
    kept, figures = run(state, checkpoint_due=lambda step: True)
    assert sorted(kept) == list(range(1, TOTAL + 1))
    return kept, figures, state


def assert_same(one, other):
    assert set(one) == set(other)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("stop", range(1, TOTAL + 1))
def test_a_step_with_two_optimizers_resumes_bit_for_bit(optimizer, stop):
    kept, figures, end = uninterrupted(optimizer)
    state = new_state(seed=5, optimizer=optimizer)
    state.load(from_bytes(kept[stop]))
    later, later_figures = run(state)
    assert_same(state.net.state_dict(), end.net.state_dict())
    assert_same(state.modules["architecture"].state_dict(), end.modules["architecture"].state_dict())
    assert later_figures == figures[stop // STEPS :]
    for step, content in later.items():
        one, other = from_bytes(content), from_bytes(kept[step])
        assert_same(one.tensors, other.tensors)
        assert {**one.values, "sums": 0} == {**other.values, "sums": 0}


def test_both_levels_learn_and_every_step_matters():
    kept, _, _ = uninterrupted("sgd")
    steps = [from_bytes(kept[step]) for step in sorted(kept)]
    for one, other in itertools.pairwise(steps):
        for name in ("modules.architecture.logits", "optimizers.architecture.0.exp_avg"):
            assert not torch.equal(one.tensors[name], other.tensors[name])
    # The weights are all that the main optimizer has: a rate of 0, the first of the warm-up, leaves them alone.
    name = "net.classifier.weight"
    assert torch.equal(steps[0].tensors[name], new_state().net.classifier.weight)
    assert not torch.equal(steps[1].tensors[name], steps[0].tensors[name])


def test_stopped_it_says_where_and_goes_on():
    asked, (_, _, end) = iter(range(1, 99)), uninterrupted("sgd")
    state = new_state()
    kept = {}
    with pytest.raises(Stopped, match=r"^in phase a after step 4 of 6$"):
        run(state, stop=lambda: next(asked) == 4, save_checkpoint=lambda one: kept.update({one.step: to_bytes(one)}))
    again = new_state(seed=3)
    again.load(from_bytes(kept[4]))
    run(again)
    assert_same(again.net.state_dict(), end.net.state_dict())


@pytest.mark.parametrize(("step", "expected"), [(4, (0, 4, 4, 1)), (6, (1, 0, 6, 2)), (7, (1, 1, 7, 2))])
def test_position(step, expected):
    """After a phase's last step comes the next phase's beginning."""
    kept, _, _ = uninterrupted("sgd")
    state = new_state()
    state.load(from_bytes(kept[step]))
    assert (state.phase_index, state.step, state.global_step, state.epochs) == expected
    assert not state.finished
    if state.step:
        assert str(state).startswith(f"phase {state.phase.name}, step {state.step}, learning rate {state.lr:.3g}")
    state.load(from_bytes(kept[TOTAL]))
    assert state.finished
    before = copy.deepcopy(state.net.state_dict())
    run(state)  # nothing is left to do
    assert_same(state.net.state_dict(), before)


def test_fewer_phases_than_the_checkpoint_has_seen_are_finished():
    kept, _, _ = uninterrupted("sgd")
    state = new_state()
    state.phases = PHASES[:1]
    state.load(from_bytes(kept[8]))
    assert state.finished


@pytest.mark.parametrize("missing", ["modules", "optimizers"])
def test_a_checkpoint_of_another_training_is_refused_before_anything_changes(missing):
    kept, _, _ = uninterrupted("sgd")
    checkpoint = from_bytes(kept[4])
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith("modules.")}
    values = {key: value for key, value in checkpoint.values.items() if key != "optimizers"}
    changed = replace(checkpoint, **({"tensors": tensors} if missing == "modules" else {"values": values}))
    state = new_state()
    before = copy.deepcopy(state.net.state_dict())
    with pytest.raises(ValueError, match=f"of another training: it has no {missing[:-1]} architecture$"):
        state.load(changed)
    assert_same(state.net.state_dict(), before)


def test_the_file_is_that_of_versions_before():
    """Its keys are those that were always there; what a step function adds is the only new one."""
    kept, _, _ = uninterrupted("sgd")
    content = kept[4]
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    position = json.loads(header["__metadata__"]["checkpoint"])
    assert set(position) == {"phase", "step", "steps", "epochs", "space", "values", "digest"}
    assert (position["phase"], position["step"], position["steps"], position["epochs"]) == (0, 4, 4, 1)
    assert set(position["values"]) == {"optimizer", "scaler", "sums", "threads", "optimizers"}
    assert set(position["values"]["sums"]) == {"loss", "steps", "images", "seconds"}
    plain = new_state()
    plain.modules, plain.optimizers = {}, {}
    plain.begin_phase()
    assert set(plain.to_checkpoint().values) == {"optimizer", "scaler", "sums", "threads"}


def test_threads_are_those_of_the_state():
    threads = Threads((1,))
    state = new_state(threads=threads)
    state.begin_phase()
    assert state.to_checkpoint().values["threads"] == threads.state
