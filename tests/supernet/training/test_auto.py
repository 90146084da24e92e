"""The default schedule: as long as was asked for, at any length."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from ofa.supernet import families
from ofa.supernet.space import SearchSpace
from ofa.supernet.training.phases import all_open, auto, everything

SPACE = SearchSpace.from_dict(families.presets()["tiny_mbv3"])
LENGTHS = (1, 2, 3, 5, 10, 30, 100, 300)


def without_choices():
    stage = {"width": 16, "stride": 2, "act": "relu", "depths": [2], "kernels": [3], "expands": [3]}
    return SearchSpace.from_dict({**families.presets()["tiny_mbv3"], "stages": [stage]})


@pytest.mark.parametrize("epochs", LENGTHS)
def test_epochs_add_up_and_everything_is_trained(epochs):
    phases = auto(SPACE, epochs=epochs, lr=0.1)
    assert sum(phase.epochs for phase in phases) == epochs
    assert all(phase.epochs >= 1 and math.isfinite(phase.lr) and phase.lr > 0 for phase in phases)
    assert {role: phases[-1].num_open(role) for role in SPACE.shrinking} == all_open(SPACE)


def test_longer_trainings_have_no_shorter_phase():
    lengths = [[phase.epochs for phase in auto(SPACE, epochs=epochs, lr=0.1)] for epochs in range(2, 301)]
    assert {len(phases) for phases in lengths} == {2}
    for before, after in pairwise(lengths):
        assert all(short <= long for short, long in zip(before, after, strict=True))
    shares = [full / (full + later) for full, later in lengths if full + later >= 30]
    assert max(shares) - min(shares) < 0.05, "of long trainings the shares are the same"


def test_only_the_first_phase_has_nobody_to_learn_from():
    full, later = auto(SPACE, epochs=10, lr=0.1)
    assert (full.trains_one_network, full.teacher, later.teacher) == (True, "none", "full")
    assert later.sort_channels
    assert 0 < full.warmup_epochs < full.epochs and later.warmup_epochs == 0


def test_a_single_epoch_has_no_teacher():
    assert auto(SPACE, epochs=1, lr=0.1) == (replace(everything(SPACE, epochs=1, lr=0.1), teacher="none"),)


def test_a_space_without_choices_is_its_full_network():
    (phase,) = auto(without_choices(), epochs=7, lr=0.1)
    assert phase.trains_one_network and (phase.epochs, phase.teacher) == (7, "none")


def test_channels_are_sorted_where_there_are_widths_to_choose():
    stage = {"width": 16, "stride": 2, "act": "relu", "depths": [1, 2], "kernels": [3, 5], "expands": [3]}
    space = SearchSpace.from_dict({**families.presets()["tiny_mbv3"], "stages": [stage]})
    assert not everything(space, epochs=2, lr=0.1).sort_channels
    assert everything(SPACE, epochs=2, lr=0.1).sort_channels
