"""Phases and sampling: the published schedule, for any space, and subnets that depend on seed and step alone."""

import numpy as np
import pytest

from ofa.supernet.presets import PRESETS
from ofa.supernet.space import SearchSpace
from ofa.supernet.training.phases import Phase, lowest_options, progressive_shrinking
from ofa.supernet.training.sampling import uniform

SPACES = {name: SearchSpace.preset(name) for name in PRESETS}
MIXED = SearchSpace.from_dict(
    {
        "resolutions": [16, 24],
        "stages": [
            {"width": 8, "depths": [1, 2, 3], "kernels": [3], "expands": [2, 4]},
            {"width": 16, "depths": [2], "kernels": [3, 5, 7], "expands": [2, 3, 4, 6]},
        ],
    }
)


def space(**choices):
    return SearchSpace.from_dict({"resolutions": [16, 24], "stages": [{"width": 16, **choices}]})


@pytest.mark.parametrize("name", ["ofa_mbv3", "ofa_mbv3_w1.2"])
def test_published_schedule(name):
    phases = progressive_shrinking(SPACES[name], epochs=180, lr=2.6)
    # Learning rates of train_ofa_net.py, for 32 workers; there gradients are summed over the subnets, here averaged.
    published = [
        ("full", 180, 2.6, 1, (1, 1, 1), False),
        ("kernel", 120, 32 * 3e-2, 1, (3, 1, 1), False),
        ("depth-2", 25, 32 * 2.5e-3, 2, (3, 2, 1), False),
        ("depth-3", 120, 32 * 7.5e-3, 2, (3, 3, 1), False),
        ("expand-2", 25, 32 * 2.5e-3, 4, (3, 3, 2), True),
        ("expand-3", 120, 32 * 7.5e-3, 4, (3, 3, 3), True),
    ]
    assert len(phases) == len(published)
    for phase, (name, epochs, lr, subnets, opened, sort) in zip(phases, published, strict=True):
        assert (phase.name, phase.epochs, phase.subnets, phase.sort_channels) == (name, epochs, subnets, sort)
        assert (phase.kernel, phase.depth, phase.expand) == opened
        assert phase.lr == pytest.approx(lr * subnets)


@pytest.mark.parametrize("epochs", [1, 2, 18, 90])
def test_schedule_scales_with_the_full_networks_epochs(epochs):
    phases = progressive_shrinking(SPACES["ofa_mbv3"], epochs=epochs, lr=0.5)
    assert (phases[0].epochs, phases[0].lr) == (epochs, 0.5)
    for phase, wanted in zip(phases, (180, 120, 25, 120, 25, 120), strict=True):
        assert phase.epochs == max(1, round(wanted / 180 * epochs))
    reference = progressive_shrinking(SPACES["ofa_mbv3"], epochs=180, lr=1)
    assert [phase.lr for phase in phases] == pytest.approx([phase.lr / 2 for phase in reference])


@pytest.mark.parametrize(
    "given, names",
    [
        (space(depths=[2], kernels=[3], expands=[4]), ["full"]),
        (space(depths=[2], kernels=[3, 5], expands=[4]), ["full", "kernel"]),
        (space(depths=[1, 2], kernels=[3], expands=[4]), ["full", "depth-2"]),
        (space(depths=[2], kernels=[3], expands=[2, 4]), ["full", "expand-2"]),
        (space(depths=[1, 2, 3, 4], kernels=[3], expands=[4]), ["full", "depth-2", "depth-3", "depth-4"]),
        (MIXED, ["full", "kernel", "depth-2", "depth-3", "expand-2", "expand-3", "expand-4"]),
    ],
)
def test_choices_of_one_option_have_no_phase(given, names):
    phases = progressive_shrinking(given, epochs=180, lr=2.6)
    assert [phase.name for phase in phases] == names
    # The last step of each choice is the long one.
    for kind in ("depth", "expand"):
        epochs = [phase.epochs for phase in phases if phase.name.startswith(kind)]
        assert epochs == [25] * (len(epochs) - 1) + [120] * bool(epochs)
    assert not lowest_options(given, phases[-1]).any(), "the last phase opens everything"


@pytest.mark.parametrize("given", [*SPACES.values(), MIXED], ids=[*SPACES, "mixed"])
def test_sampled_subnets_have_open_options_only_and_in_time_all_of_them(given):
    for phase in progressive_shrinking(given, epochs=10, lr=1):
        lowest = lowest_options(given, phase)
        assert lowest[0] == 0, "every resolution is open from the start"
        drawn = [subnet for step in range(150) for subnet in uniform(given, phase, seed=0, step=step)]
        assert len(drawn) == 150 * phase.subnets
        assert {subnet.resolution for subnet in drawn} == set(given.resolutions)
        for number, stage in enumerate(given.stages):
            assert {subnet.depths[number] for subnet in drawn} == set(stage.depths[-phase.depth :])
        for number, slot in enumerate(given.slots):
            stage = given.stages[slot.stage]
            running = [subnet for subnet in drawn if subnet.depths[slot.stage] > slot.index]
            assert {subnet.kernels[number] for subnet in running} <= set(stage.kernels[-phase.kernel :])
            assert {subnet.expands[number] for subnet in running} <= set(stage.expands[-phase.expand :])
            if slot.index == 0:
                assert {subnet.kernels[number] for subnet in running} == set(stage.kernels[-phase.kernel :])
                assert {subnet.expands[number] for subnet in running} == set(stage.expands[-phase.expand :])


def test_first_phase_runs_the_full_network():
    for given in SPACES.values():
        (subnet,) = uniform(given, Phase("full", epochs=1, lr=1), seed=0, step=0)
        assert (subnet.depths, subnet.kernels, subnet.expands) == (
            given.largest.depths,
            given.largest.kernels,
            given.largest.expands,
        )


def test_subnets_of_a_step_share_a_resolution_and_differ():
    phase = Phase("all", epochs=1, lr=1, subnets=4, kernel=3, depth=3, expand=3)
    for step in range(50):
        subnets = uniform(SPACES["ofa_mbv3"], phase, seed=0, step=step)
        assert len({subnet.resolution for subnet in subnets}) == 1 and len(set(subnets)) == 4


def test_sampling_is_a_function_of_seed_and_step():
    phase = Phase("all", epochs=1, lr=1, subnets=2, kernel=3, depth=3, expand=3)
    given = SPACES["ofa_mbv3"]
    np.random.seed(1)  # noqa: NPY002  global state must not matter
    first = {(seed, step): uniform(given, phase, seed=seed, step=step) for seed in range(3) for step in range(20)}
    np.random.seed(2)  # noqa: NPY002
    for (seed, step), subnets in reversed(first.items()):
        assert uniform(given, phase, seed=seed, step=step) == subnets
    assert len({tuple(subnets) for subnets in first.values()}) == len(first)
