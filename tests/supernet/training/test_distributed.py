"""Two gloo processes with a share of each batch train as one process does with the whole batch.

Batch norm stays in eval mode here, with the statistics of earlier batches. While training, each process normalises its
own share, which is the one thing in which two processes differ from one.

Started as a script, this file is one of the two processes: ``test_distributed.py RANK FOLDER``.
"""

import copy
import functools
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import shared_spaces
import torch
import toy_relaxed
from shared_spaces import SMALL as SPACE
from torch import distributed as dist

from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.relaxation.search import search_architecture
from ofa.supernet.supernet import Supernet
from ofa.supernet.training import distributed, weight_sharing
from ofa.supernet.training.finetune import finetune
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

pytestmark = pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="torch has no gloo")
STEPS = 10
OPEN = {"kernel": 2, "depth": 2, "expand": 2}
SHRINKING = (
    Phase("full", 1, 0.05),
    Phase("all", 1, 0.05, 2, open=OPEN, teacher="full", sort_channels=True),
)
SANDWICH = tuple(Phase(name, 1, 0.05, 3, open=OPEN, sampling="sandwich", teacher="in_place") for name in "ab")
BEST_UP = tuple(Phase(name, 1, 0.05, 3, open=OPEN, sampling="best_up", teacher="in_place") for name in "ab")
EVEN, UNEVEN, SHORT = (16,), (15, 7, 16, 9, 3), (16, 1, 8, 0, 3)  # a batch of 3 leaves the second process none
# Name: phases, batch sizes (in turn), settings.
CASES = {
    "even": (SHRINKING, EVEN, {}),
    "uneven, clipped": (SHRINKING, UNEVEN, {"clip_grad": 0.3}),
    "uneven, in pieces, moving average": (SHRINKING, UNEVEN, {"grad_accum_steps": 2, "ema": 0.9}),
    "empty": (SHRINKING, SHORT, {}),
    "different": (SHRINKING, UNEVEN, {"subnets_per_rank": "independent"}),
    "sandwich": (SANDWICH, UNEVEN, {}),
    "attentive": (BEST_UP, SHORT, {}),
}
EQUAL = [name for name in CASES if name != "different"]
TOLERANCE = 2e-5
SEARCHES = ("darts", "drnas", "gdas", "milenas", "darts_2nd")
COLLECTIVES = ("all_reduce", "broadcast", "all_gather", "reduce", "barrier", "all_gather_into_tensor", "gather")


class Frozen(Supernet):
    """Batch norm normalises by its stored statistics, also while training."""

    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return self


@functools.cache
def untrained():
    torch.manual_seed(0)
    net = Frozen(SPACE, num_classes=4)
    with torch.no_grad():
        for module in net.modules():
            module.training = True
        for images, _ in batches(99, sizes=(32,), steps=10):
            net(prepare(images))
    return net.train()


def new_net():
    return copy.deepcopy(untrained())


def batches(epoch, start=0, *, sizes, steps=STEPS, rank=0, count=1):
    """Four classes, told apart by the bright quadrant; of each batch every ``count``-th image."""
    rng = np.random.default_rng([1, epoch])
    for step in range(steps):
        n = sizes[step % len(sizes)]
        labels = rng.integers(0, 4, n)
        images = rng.integers(0, 120, size=(n, 3, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 6 * (label // 2) :, :][:, :6, 6 * (label % 2) :][:, :, :6] += 100
        if step >= start:
            own = distributed.own_share(np.arange(n), rank=rank, ranks=count)
            yield torch.from_numpy(images[own]), torch.from_numpy(labels[own])


def prepare(images):
    return images.float() / 64 - 1


@functools.cache
def trained(case, *, rank=None, count=None):
    """State, and what happened: subnets and images of each step, losses, and how often processes spoke."""
    phases, sizes, options = CASES[case]
    rank, count = distributed.rank() if rank is None else rank, distributed.world_size() if count is None else count
    net, steps, figures, calls, norms = new_net(), {}, [], Counter(), []
    real = {name: getattr(dist, name) for name in COLLECTIVES}
    backward, clip = weight_sharing.backward, torch.nn.utils.clip_grad_norm_

    def recorded(net, lesson, **settings):
        where = lesson.where.partition(", learning rate")[0]
        steps[where] = [len(lesson.images), *(subnet.to_json() for subnet in lesson.subnets)]
        return backward(net, lesson, **settings)

    def counted(name):
        def call(*arguments, **settings):
            calls[name] += 1
            return real[name](*arguments, **settings)

        return call

    def clipped(parameters, limit):
        norms.append(float(clip(parameters, limit)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_sharing, "backward", recorded)
        patch.setattr(torch.nn.utils, "clip_grad_norm_", clipped)
        for name in COLLECTIVES:
            patch.setattr(dist, name, counted(name))
        train_supernet(
            net,
            phases,
            lambda epoch, start: batches(epoch, start, sizes=sizes, rank=rank, count=count),
            steps_per_epoch=STEPS,
            normalize=prepare,
            settings=Settings(weight_decay=0.01, **options),
            macs=CostTable.macs(SPACE, num_classes=4).predict,
            on_epoch=lambda _, phase, figure: figures.append(figure),
            progress=False,
        )
    losses = [figure["loss"] for figure in figures]
    images = [round(figure["images_per_second"] * figure["seconds"]) for figure in figures]
    return net.state_dict(), {"steps": steps, "losses": losses, "images": images, "calls": calls, "norms": norms}


@functools.cache
def finetuned(*, rank=None, count=None):
    """State, losses and calls between processes of a subnet's fine-tuning; batch norm as in ``Frozen``."""
    rank = distributed.rank() if rank is None else rank
    count = distributed.world_size() if count is None else count
    model, teacher = (new_net().extract(subnet) for subnet in (SPACE.smallest, SPACE.largest))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train = lambda mode=True, module=module: module
    losses, calls, real = [], Counter(), dist.all_reduce

    def counted(*arguments, **settings):
        calls["all_reduce"] += 1
        return real(*arguments, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, "all_reduce", counted)
        finetune(
            model,
            teacher,
            lambda epoch, start: batches(epoch, start, sizes=SHORT, rank=rank, count=count),
            epochs=2,
            steps_per_epoch=STEPS,
            lr=0.05,
            resolution=8,
            teacher_resolution=12,
            normalize=prepare,
            settings=Settings(weight_decay=0.01, clip_grad=0.3, ema=0.9, grad_accum_steps=2),
            on_epoch=lambda figure: losses.append(figure["loss"]),
            progress=False,
        )
    return model.state_dict(), {"losses": losses, "calls": calls}


@functools.cache
def searched(name, *, rank=None, count=None):
    """The end of an architecture search, without batch norm and dropout."""
    rank = distributed.rank() if rank is None else rank
    count = distributed.world_size() if count is None else count
    relaxed = toy_relaxed.relaxed_for(name, dropout=0.0)
    relaxed.net.norm = torch.nn.Identity()
    sizes = (8, 8) if name == "milenas" else (9, 7)  # which counts both halves by the images of the second

    def own(epoch, start):
        for batch in toy_relaxed.batches(epoch, start, n=9):
            halves = (batch[:2], batch[2:])
            yield tuple(part[:n][rank::count] for half, n in zip(halves, sizes, strict=True) for part in half)

    method, steps = toy_relaxed.fast(name), toy_relaxed.STEPS
    options = {"epochs": 2, "steps_per_epoch": steps, "normalize": toy_relaxed.prepare, "progress": False}
    search_architecture(relaxed, method, own, **options)
    return relaxed.state_dict()


def averaged(images):
    """``average_gradients`` of three parameters: used by both processes, by the second alone, by none."""
    number = distributed.rank()
    parameters = [torch.zeros(2, 3, requires_grad=True) for _ in range(3)]
    parameters[0].grad = torch.full((2, 3), 1.0 + 8 * number)
    if number == 1:
        parameters[1].grad = torch.full((2, 3), 2.0)
    total, sums = distributed.average_gradients(parameters, images=images[number], sums=(1.5 * number, 1.0))
    return [total, sums, *(None if p.grad is None else p.grad.flatten().tolist() for p in parameters)]


def main(number, folder):
    dist.init_process_group(
        "gloo", init_method=(folder / "meet").as_uri(), rank=number, world_size=2, timeout=timedelta(seconds=60)
    )
    units = {
        "averaged": [averaged((3, 1)), averaged((0, 0))],
        "mean": distributed.mean(np.array([1.0, number]), torch.device("cpu"), images=3 - 2 * number).tolist(),
        "mean of nothing": distributed.mean(np.array([number]), torch.device("cpu"), images=0).tolist(),
        "place": [distributed.rank(), distributed.world_size()],
    }
    (folder / f"units-{number}.json").write_text(json.dumps(units))
    for case in CASES:
        state, happened = trained(case)
        state = {name: tensor.contiguous() for name, tensor in state.items()}
        safetensors.torch.save_file(state, folder / f"{case}-{number}.safetensors")
        (folder / f"{case}-{number}.json").write_text(json.dumps(happened))
    for name in SEARCHES:
        state = {key: tensor.contiguous() for key, tensor in searched(name).items()}
        safetensors.torch.save_file(state, folder / f"search {name}-{number}.safetensors")
        (folder / f"search {name}-{number}.json").write_text("{}")
    state, happened = finetuned()
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    safetensors.torch.save_file(state, folder / f"finetune-{number}.safetensors")
    (folder / f"finetune-{number}.json").write_text(json.dumps(happened))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), Path(sys.argv[2]))


# -- tests ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Runs the two processes once, through every case; gives the folder of what they left, and what they said."""
    folder = tmp_path_factory.mktemp("pair")
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(shared_spaces.__file__).parent)}
    command = [sys.executable, __file__]
    both = [
        subprocess.Popen([*command, str(number), str(folder)], env=env, stderr=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    try:
        said = [process.communicate(timeout=180)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    return folder, "\n".join(said), [process.returncode for process in both]


@pytest.fixture
def results(pair):
    """``results(case)``: state and events of each of the two processes."""
    folder, said, _ = pair

    def read(case):
        paths = [folder / f"{case}-{number}" for number in range(2)]
        assert all(path.with_suffix(".json").exists() for path in paths), said
        return [
            (safetensors.torch.load_file(f"{path}.safetensors"), json.loads(path.with_suffix(".json").read_text()))
            for path in paths
        ]

    return read


def worked_on(case):
    """In how many steps of a phase each process had images: two at least, or none."""
    sizes = [CASES[case][1][step % len(CASES[case][1])] for step in range(STEPS)]
    return [sum(size >= least for size in sizes) for least in (2, 4)]


def farthest(one, other):
    assert set(one) == set(other)
    return max(float((one[name] - other[name]).abs().max()) for name in one if one[name].is_floating_point())


def test_both_end_well(pair):
    _, said, codes = pair
    assert codes == [0, 0], said


@pytest.mark.parametrize("case", EQUAL)
def test_two_with_a_share_equal_one_with_the_whole_batch(results, case):
    (first, events), (second, _) = results(case)
    start = new_net().state_dict()
    alone, expected = trained(case)
    half, _ = trained(case, rank=0, count=2)
    assert farthest(alone, start) > 0.02
    assert farthest(alone, half) > 50 * TOLERANCE  # the other process's images matter
    assert farthest(first, alone) < TOLERANCE
    assert farthest(second, first) == 0
    assert events["losses"] == pytest.approx(expected["losses"], rel=1e-5)
    assert events["images"] == expected["images"]
    assert events["norms"] == pytest.approx(expected["norms"], rel=1e-4)
    if "clipped" in case:
        assert min(expected["norms"]) < 0.3 < max(expected["norms"])


@pytest.mark.parametrize("case", EQUAL)
def test_the_same_subnets_on_every_rank(results, case):
    _, alone = trained(case)
    parts = [events["steps"] for _, events in results(case)]
    for where, (images, *subnets) in alone["steps"].items():
        shares = [part[where] for part in parts if where in part]
        assert [share[1:] for share in shares] == [subnets] * len(shares), where
        assert sum(share[0] for share in shares) == images, where
    assert [len(part) for part in parts] == [2 * steps for steps in worked_on(case)]


def test_different_subnets_and_the_same_weights(results):
    (first, events), (second, others) = results("different")
    assert farthest(first, second) == 0
    pairs = [(events["steps"][where], others["steps"][where]) for where in others["steps"] if "phase all" in where]
    assert len(pairs) == worked_on("different")[1]
    assert sum(one[1:] != other[1:] for one, other in pairs) > len(pairs) / 2
    for one, other in pairs:  # a batch has one resolution
        assert len({json.loads(subnet)["resolution"] for subnet in one[1:] + other[1:]}) == 1
    assert events["losses"] == others["losses"]


def test_fine_tuning_by_two_equals_that_by_one(results):
    (first, events), (second, _) = results("finetune")
    start = new_net().extract(SPACE.smallest).state_dict()
    alone, expected = finetuned()
    half, _ = finetuned(rank=0, count=2)
    assert farthest(alone, start) > 0.02
    assert farthest(alone, half) > 50 * TOLERANCE
    assert farthest(first, alone) < TOLERANCE
    assert farthest(second, first) == 0
    assert events["losses"] == pytest.approx(expected["losses"], rel=1e-5)
    assert events["calls"] == {"all_reduce": 2 * STEPS}


@pytest.mark.parametrize("case", list(CASES))
def test_processes_speak_once_a_step(results, case):
    """And when a phase ends, of the statistics. Attentive sampling also agrees on the candidates' losses."""
    times = 2 if case == "attentive" else 1
    for _, events in results(case):
        assert events["calls"] == {"all_reduce": times * 2 * STEPS, "broadcast": 2}


@pytest.mark.parametrize("name", SEARCHES)
def test_all_processes_find_the_same_architecture(results, name):
    (first, _), (second, _) = results(f"search {name}")
    assert not [key for key in first if not torch.equal(first[key], second[key])]
    alone, half = searched(name), searched(name, rank=0, count=2)
    first, half = ({key: value for key, value in end.items() if ".alpha." in key} for end in (first, half))
    assert farthest(half, {key: alone[key] for key in first}) > 50 * TOLERANCE
    if name != "darts_2nd":  # the virtual step is each process's own
        assert farthest(first, {key: alone[key] for key in first}) < TOLERANCE


def test_gradients_count_by_their_images(pair):
    folder, _, _ = pair
    for number in range(2):
        units = json.loads((folder / f"units-{number}.json").read_text())
        both, nothing = units["averaged"]
        assert both == [4, [1.5, 2.0], [3.0] * 6, [0.5] * 6, None]  # (3 * 1 + 1 * 9) / 4, (1 * 2) / 4
        assert nothing == [0, [1.5, 2.0], None, None, None]
        assert (units["mean"], units["mean of nothing"]) == ([1.0, 0.25], [0.0])
        assert units["place"] == [number, 2]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_make_up_the_batch_and_none_has_a_single_image(count):
    for size in range(40):
        shares = [distributed.own_share(np.arange(size), rank=number, ranks=count) for number in range(count)]
        assert sorted(np.concatenate(shares)) == list(range(size))
        assert size == 1 or all(len(share) != 1 for share in shares)
        assert max(map(len, shares)) - min(len(share) for share in shares if len(share) or not size) <= 1


def test_alone_nothing_happens():
    parameter = torch.zeros(3, requires_grad=True)
    parameter.grad = gradient = torch.ones(3)
    assert distributed.average_gradients([parameter], images=7, sums=(2.5,)) == (7, [2.5])
    assert parameter.grad is gradient and gradient.tolist() == [1, 1, 1]
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    values = np.array([1.0, 2.0])
    assert distributed.mean(values, torch.device("cpu"), images=7) is values
