"""What ``train:`` means: phases written out, and settings."""

import pytest

from ofa.config.recipe import Recipe
from ofa.config.recipe_file import load_recipe
from ofa.config.schedule import training_phases, training_settings
from ofa.config.train import AUTO_LR, PRETRAINED_LAYER_DECAY, PRETRAINED_LR
from ofa.errors import UserError
from ofa.supernet.training.phases import auto, everything, progressive_shrinking


def test_later_learning_rates(small):
    recipes = [load_recipe(small, overrides=[f"train.shrinking_lr_scale={factor}"]) for factor in (1.0, 2.5)]
    plain, raised = map(training_phases, recipes)
    assert raised[0] == plain[0]
    assert [phase.lr for phase in raised[1:]] == pytest.approx([2.5 * phase.lr for phase in plain[1:]])


def test_listed_phases_are_as_written_and_settings_are_the_recipe_s(small):
    listed = "[{name: a, epochs: 2, lr: 0.1}, {name: b, epochs: 1, lr: 0.05, open: {kernel: 2}, subnets: 2}]"
    recipe = load_recipe(small, overrides=[f"train={{phases: {listed}, weight_decay: 0.001}}", "seed=7"])
    first, second = training_phases(recipe)
    assert (first.name, first.epochs, first.lr, first.teacher) == ("a", 2, 0.1, "none")
    assert (second.num_open("kernel"), second.subnets, second.teacher) == (2, 2, "full")
    assert (training_settings(recipe).weight_decay, training_settings(recipe).seed) == (0.001, 7)


@pytest.mark.parametrize(
    ("given", "lr", "layer_decay"),
    [
        ("init: full.safetensors, epochs: 2, batch_size: 64", PRETRAINED_LR, PRETRAINED_LAYER_DECAY),
        ("init: full.safetensors, epochs: 2, batch_size: 32", PRETRAINED_LR / 2, PRETRAINED_LAYER_DECAY),
        ("init: full.safetensors, epochs: 2, lr: 0.3", 0.3, 1),
        ("init: full.safetensors, epochs: 2, layer_decay: 0.5, batch_size: 64", PRETRAINED_LR, 0.5),
        ("epochs: 2, lr: 0.3", 0.3, 1),
        ("epochs: 2, lr: 0.3, layer_decay: 0.5", 0.3, 0.5),
    ],
)
def test_learning_rates_that_suit_trained_weights_are_the_default_with_them(small, given, lr, layer_decay):
    recipe = load_recipe(small, overrides=[f"train={{{given}}}"])
    assert training_phases(recipe)[0].lr == pytest.approx(lr)
    assert training_settings(recipe).layer_decay == layer_decay
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("given", "lr"),
    [
        ("total_epochs: 9", AUTO_LR),
        ("total_epochs: 9, batch_size: 16", AUTO_LR / 4),
        ("total_epochs: 9, lr: 0.3", 0.3),
        ("phases: auto, total_epochs: 9, lr: 0.3", 0.3),
        ("total_epochs: 9, init: full.safetensors", PRETRAINED_LR),
    ],
)
def test_the_default_needs_its_epochs_alone(small, given, lr):
    recipe = load_recipe(small, overrides=[f"train={{{given}}}"])
    assert training_phases(recipe) == auto(recipe.space, epochs=9, lr=lr)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize("given", ["epochs: 3, lr: 0.2", "epochs: 3, lr: 0.2, shrinking_lr_scale: 1.0"])
def test_recipes_from_before_the_default_mean_what_they_meant(small, given):
    recipe = load_recipe(small, overrides=[f"train={{{given}}}"])
    assert training_phases(recipe) == progressive_shrinking(recipe.space, epochs=3, lr=0.2)
    stored = recipe.to_dict()
    del stored["train"]["total_epochs"]
    assert Recipe.from_dict(stored) == recipe


def test_a_warm_up_of_its_own_is_the_recipe_s(small):
    recipe = load_recipe(small, overrides=["train={total_epochs: 100, warmup_epochs: 0.5}"])
    phases = training_phases(recipe)
    assert [phase.warmup_epochs for phase in phases] == [0, 0]
    assert training_settings(recipe).warmup_epochs == 0.5
    usual = load_recipe(small, overrides=["train={total_epochs: 100}"])
    assert [phase.warmup_epochs > 0 for phase in training_phases(usual)] == [True, False]


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_without_its_first_phase_the_default_is_as_long(small, epochs):
    given = f"{{total_epochs: {epochs}, init: full.safetensors, skip_first_phase: true}}"
    recipe = load_recipe(small, overrides=[f"train={given}"])
    assert training_phases(recipe) == (everything(recipe.space, epochs=epochs, lr=PRETRAINED_LR),)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{}", "train.total_epochs: missing; phases: auto needs it"),
        ("{lr: 0.1}", "train.total_epochs: missing; phases: auto needs it"),
        ("{total_epochs: 0}", "train.total_epochs: must be greater than or equal to 1; it is 0"),
        ("{total_epochs: 2, optimizer: lamb}", "train.lr: missing; what suits auto is known for sgd alone, and opti"),
        ("{total_epochs: 2, phases: auto, epochs: 1}", "train.epochs: not with phases: auto, which takes total_epochs"),
        ("{total_epochs: 2, epochs: 1}", "train.epochs: not with phases: auto, which takes total_epochs; leave it out"),
        (
            "{total_epochs: 2, phases: random, epochs: 1, lr: 0.1}",
            "train.total_epochs: not with phases: random, which takes epochs; leave it out",
        ),
        (
            "{total_epochs: 2, phases: [{name: a, epochs: 1, lr: 0.1}]}",
            "train.total_epochs: not with listed phases; set train.phases.0.epochs and so on",
        ),
        ("{epochs: 2}", "train.lr: missing; phases: progressive_shrinking needs it"),
        ("{epochs: 2, init: a, optimizer: adamw}", "train.lr: missing; what suits pretrained weights is known for sgd"),
        ("{epochs: 2, init: pretrained}", "train.init: pretrained needs a space of a timm model (space: {timm: NAME})"),
    ],
)
def test_learning_rates_and_weights_that_are_missing(small, given, sentence):
    with pytest.raises(UserError) as caught:
        load_recipe(small, overrides=[f"train={given}"])
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
