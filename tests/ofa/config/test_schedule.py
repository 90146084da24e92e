"""What ``train:`` means: phases written out, and settings."""

import pytest

from ofa.config.recipe_file import load_recipe
from ofa.config.schedule import training_phases, training_settings


def test_later_learning_rates(small):
    recipes = [load_recipe(small, overrides=[f"train.shrinking_lr_scale={factor}"]) for factor in (1.0, 2.5)]
    plain, raised = map(training_phases, recipes)
    assert raised[0] == plain[0]
    assert [phase.lr for phase in raised[1:]] == pytest.approx([2.5 * phase.lr for phase in plain[1:]])


def test_listed_phases_are_as_written_and_settings_are_the_recipe_s(small):
    listed = "[{name: a, epochs: 2, lr: 0.1}, {name: b, epochs: 1, lr: 0.05, kernel: 2, subnets: 2}]"
    recipe = load_recipe(small, overrides=[f"train={{phases: {listed}, weight_decay: 0.001}}", "seed=7"])
    first, second = training_phases(recipe)
    assert (first.name, first.epochs, first.lr, first.teacher) == ("a", 2, 0.1, "none")
    assert (second.kernel, second.subnets, second.teacher) == (2, 2, "full")
    assert (training_settings(recipe).weight_decay, training_settings(recipe).seed) == (0.001, 7)
