"""Phases: the published schedule and its rivals, for any space; what a phase refuses."""

import pytest

from ofa.supernet import families
from ofa.supernet.space import SearchSpace
from ofa.supernet.training.phases import (
    SCHEDULES,
    TEACHERS,
    Phase,
    all_open,
    min_options,
    progressive_shrinking,
)
from ofa.supernet.training.sampling import SAMPLERS

SPACES = {name: SearchSpace.preset(name) for name in families.presets()}
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
        assert tuple(map(phase.num_open, ("kernel", "depth", "expand"))) == opened
        assert phase.lr == pytest.approx(lr * subnets)
        assert (phase.sampling, phase.teacher) == ("uniform", "none" if name == "full" else "full")


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
    assert not min_options(given, phases[-1]).any(), "the last phase opens everything"


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("given", [*SPACES.values(), MIXED], ids=[*SPACES, "mixed"])
def test_every_schedule_ends_with_everything_open(schedule, given):
    phases = SCHEDULES[schedule](given, epochs=18, lr=0.5)
    assert len({phase.name for phase in phases}) == len(phases)
    epochs = sum(phase.epochs for phase in phases) if schedule == "auto" else phases[0].epochs
    assert (epochs, phases[0].lr) == (18, 0.5)
    assert {role: phases[-1].num_open(role) for role in given.shrinking} == all_open(given)
    assert not min_options(given, phases[-1]).any()


def test_all_open_counts_the_stage_with_most_options():
    assert all_open(MIXED) == {"kernel": 3, "depth": 3, "expand": 4}
    assert all_open(space(depths=[2], kernels=[3], expands=[4])) == {"kernel": 1, "depth": 1, "expand": 1}


@pytest.mark.parametrize("given", [*SPACES.values(), MIXED], ids=[*SPACES, "mixed"])
def test_random_trains_as_long_as_progressive_shrinking(given):
    published = progressive_shrinking(given, epochs=180, lr=2.6)
    full, later = SCHEDULES["random"](given, epochs=180, lr=2.6)
    assert full == published[0]
    assert later.epochs == sum(phase.epochs for phase in published[1:])
    last = [phase for phase in published if phase.sort_channels][-1]
    assert (later.lr, later.subnets, later.sort_channels) == (last.lr, last.subnets, last.sort_channels)
    assert (later.sampling, later.teacher) == ("uniform", "full")


def test_random_of_a_space_without_expand_options_or_any():
    assert not SCHEDULES["random"](space(depths=[1, 2], kernels=[3], expands=[4]), epochs=9, lr=1)[1].sort_channels
    assert len(SCHEDULES["random"](space(depths=[2], kernels=[3], expands=[4]), epochs=9, lr=1)) == 1


@pytest.mark.parametrize("schedule, sampling", [("sandwich", "sandwich"), ("attentive", "best_up")])
def test_one_phase_schedules(schedule, sampling):
    opened = {"kernel": 3, "depth": 3, "expand": 4}
    wanted = {"open": opened, "subnets": 4, "sampling": sampling, "teacher": "in_place"}
    assert SCHEDULES[schedule](MIXED, epochs=7, lr=0.3) == (Phase(schedule, 7, 0.3, **wanted),)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"sampling": "fair"}, ["'fair'", "'uniform' or 'sandwich' or 'best_up' or 'worst_up'"]),
        ({"teacher": "on_line"}, ["'on_line'", "'none' or 'full' or 'in_place'"]),
        ({"teacher": "in_place", "subnets": 4}, ["'uniform'", "use sampling 'sandwich'", "or teacher 'full'"]),
        ({"sampling": "sandwich"}, ["'sandwich'", "at least 2 subnets a step, not 1", "set subnets to 2"]),
        ({"sampling": "best_up", "subnets": 2}, ["'best_up'", "at least 3 subnets a step, not 2", "set subnets to 3"]),
        ({"sampling": "worst_up", "subnets": 2}, ["'worst_up'", "at least 3"]),
        ({"subnets": 0}, ["'uniform'", "at least 1"]),
    ],
)
def test_what_a_phase_refuses(options, words):
    with pytest.raises(ValueError, match=r"^phase 'a': ") as caught:
        Phase("a", epochs=1, lr=1, **options)
    assert all(word in str(caught.value) for word in words), caught.value


def test_every_sampling_with_every_teacher_it_can_have():
    for name, sampling in SAMPLERS.items():
        for teacher in TEACHERS:
            if teacher != "in_place" or sampling.largest_first:
                assert Phase("a", 1, 1, sampling.min_subnets, sampling=name, teacher=teacher).teacher == teacher
