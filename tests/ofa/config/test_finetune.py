"""``finetune:`` and that of a target: shares of the supernet's training, what overrides what, how it is left out."""

import pytest

from ofa.config.finetuning import Finetuning, finetunings
from ofa.config.recipe import Recipe
from ofa.config.recipe_file import load_recipe, load_run_recipe
from ofa.config.schedule import training_phases
from ofa.errors import UserError
from ofa.pipeline.stage_inputs import stages_of
from ofa.stages import STAGES

LIMITS = {"limits": {"macs": "1x"}}
WRITTEN_OUT = {"epochs": None, "lr": None, "phases": [{"name": "a", "epochs": 40, "lr": 0.1}]}


def recipe(*, train=None, phone=(), **more):
    """With targets phone, which has ``phone`` of its own, and board."""
    targets = {"phone": {**LIMITS, **dict(phone)}, "board": LIMITS}
    values = {"name": "my", "space": "tiny_mbv3", "train": train or {"epochs": 16, "lr": 0.2}, "targets": targets}
    return Recipe.from_dict(values | more)


def test_without_a_word_every_target_is_fine_tuned_for_a_share_of_the_training():
    found = finetunings(recipe())
    assert found.keys() == {"phone", "board"} and found["phone"] == found["board"]
    phases = training_phases(recipe())
    assert 1 <= found["phone"].epochs < sum(phase.epochs for phase in phases) / 2
    assert 0 < found["phone"].lr < max(phase.lr for phase in phases)


@pytest.mark.parametrize(
    ("finetune", "own", "expected"),
    [
        ({"epochs": "0.25x", "lr": "0.5x"}, {}, (10, 0.05)),
        ({"epochs": "0.001x", "lr": "1x"}, {}, (1, 0.1)),  # at least one epoch
        ({"epochs": 3, "lr": 0.02}, {}, (3, 0.02)),
        ({"epochs": 3, "lr": 0.02}, {"finetune": None}, (3, 0.02)),
        ({"epochs": 3, "lr": 0.02}, {"finetune": {}}, (3, 0.02)),
        ({"epochs": 3, "lr": 0.02}, {"finetune": {"epochs": "0.1x"}}, (4, 0.02)),
        ({"epochs": 3, "lr": 0.02}, {"finetune": {"lr": 0.5}}, (3, 0.5)),
        ({"epochs": 3, "lr": 0.02}, {"finetune": False}, None),
        (False, {}, None),
        (False, {"finetune": {"epochs": 2, "lr": 0.3}}, (2, 0.3)),
    ],
)
def test_what_a_target_says_stands_before_what_is_said_of_all(finetune, own, expected):
    made = recipe(train=WRITTEN_OUT, finetune=finetune, phone=own)
    assert Recipe.from_dict(made.to_dict()) == made
    found = finetunings(made)
    assert found.get("phone") == (expected and Finetuning(*expected))
    assert found.get("board") == finetunings(recipe(train=WRITTEN_OUT, finetune=finetune)).get("board")
    assert stages_of(made) == tuple(name for name in STAGES if name != "relax" and (name != "finetune" or found))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("finetune=true", "finetune: must be a mapping; it is true"),
        ("finetune.epochs=0", "finetune.epochs: must be greater than or equal to 1"),
        ("finetune.epochs=2.5", "finetune.epochs: must be an integer"),
        ("finetune.epochs=1.5x", "finetune.epochs: must be a share of the supernet's such as 0.1x, or a number"),
        ("finetune.lr=fast", "finetune.lr: must be a share of the supernet's such as 0.1x, or a number"),
        ("finetune.lr=true", "finetune.lr: must be a number; it is true"),
        ("finetune.share=0.1", "finetune.share: unknown key. Allowed: epochs, lr"),
        ("targets.phone.finetune.epohcs=3", 'targets.phone.finetune.epohcs: unknown key; did you mean "epochs"?'),
        ("targets.phone.finetune.lr=-1", "targets.phone.finetune.lr: must be greater than or equal to 0.000000001"),
    ],
)
def test_a_mistake_names_its_key(small, option, words):
    with pytest.raises(UserError) as caught:
        load_recipe(small, overrides=[option])
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"--set {words}")


def test_a_run_folder_without_the_key_was_made_without_fine_tuning(small, tmp_path):
    """Every version that had it has written it, as all keys are."""
    (tmp_path / "recipe.yaml").write_text(small.read_text())
    assert load_run_recipe(tmp_path).finetune is False
    assert load_run_recipe(tmp_path, overrides=["finetune.epochs=2"]).finetune.epochs == 2
    assert load_recipe(small).finetune is not False
