"""``space: {timm: NAME, ...}``: the space it stands for, and what is wrong with one."""

import subprocess
import sys

import pytest

from ofa.config.recipe import Recipe
from ofa.config.recipe_file import load_run_recipe
from ofa.config.space import TimmSpace
from ofa.config.yaml_text import dump_yaml
from ofa.errors import UserError
from ofa.supernet.derived.derive import Elastic
from ofa.supernet.derived.fixed import fixed_choices
from ofa.supernet.space import SearchSpace

SMALL = "mobilenetv4_conv_small_035"
REST = {"name": "r", "train": {"epochs": 1, "lr": 0.1}, "targets": {"phone": {"limits": {"macs": "0.5x"}}}}


def recipe(**space) -> Recipe:
    return Recipe.from_dict({**REST, "space": space})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernels": "auto", "expands": [0.5, 0.75, 1.0]},
        {"resolutions": [64, 96], "depths": 1, "widths": [1.0]},
        {"depths": [[2], [2], [4, 6], [6], [1]], "kernels": [3, 5]},
    ],
    ids=str,
)
def test_the_space_is_the_one_of_from_timm(options):
    assert recipe(timm=SMALL, **options).space == SearchSpace.from_timm(SMALL, **options)


def test_keys_are_those_that_a_space_is_made_with():
    assert set(TimmSpace.model_fields) == {"timm", *Elastic.model_fields}


BAD = {
    "near": ({"timm": "resnet19"}, "space.timm: timm .* has no model called 'resnet19'; did you mean resnet1"),
    "far": ({"timm": "qqqq"}, "space.timm: .*no model called 'qqqq'; `ofa models` lists"),
    "class": ({"timm": "vgg11"}, "space.timm: vgg11 is a VGG, and no family"),
    "no name": ({"timm": 3}, "space.timm: must be a string; it is 3"),
    "both": ({"timm": "resnet18", "preset": "mcu"}, "space: preset and timm are both given"),
    "key": ({"timm": "resnet18", "kernel": [3]}, r'space.kernel: unknown key; did you mean "kernels"\?'),
    "even": ({"timm": "lcnet_050", "kernels": [3, 4]}, r"space.kernels: \[3, 4\]: only odd sizes"),
    "text": (
        {"timm": "lcnet_050", "kernels": "all"},
        r'space.kernels: must be auto, or odd .* \[3, 5, 7\]; it is "all"',
    ),
    "one": ({"timm": "lcnet_050", "expands": 0.5}, "space.expands: must be auto, or shares .*; it is 0.5"),
    "more": ({"timm": "lcnet_050", "widths": [0.5, 2]}, "space.widths: must be auto, or shares"),
    "not own": ({"timm": "lcnet_050", "widths": [0.5]}, r"space.widths: \[0.5\]: 1 must be among them"),
    "stages": ({"timm": "lcnet_050", "depths": [[1]]}, "space.depths: 1 stages are given; this model has"),
    "deep": (
        {"timm": "resnet18", "depths": [[1, 3]] * 4},
        r"space.depths: depths\[0\] is \[1, 3\]; give numbers from 1 to 2",
    ),
    "no kernels": ({"timm": "resnet18", "kernels": [3, 5]}, r"space.kernels: \[3, 5\]: .*and it has none"),
    "no heads": ({"timm": "resnet18", "heads": [0.5, 1]}, "space.heads: .*this model has nothing to choose them for"),
    "no depths": ({"timm": "lcnet_050", "depths": 1}, "space.depths: lcnet_050 has no stage whose last block"),
    "side": ({"timm": "resnet18", "resolutions": [2]}, "space.resolutions: must be auto, or sides from 8 to 2,048"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_one_sentence_with_its_key(case):
    space, words = BAD[case]
    with pytest.raises(UserError, match=f"^recipe: {words}") as told:
        recipe(**space)
    assert "\n" not in str(told.value)


def test_every_problem_of_a_recipe_is_told_at_once():
    with pytest.raises(UserError) as told:
        Recipe.from_dict({**REST, "space": {"timm": "resnet19"}, "seed": -1})
    assert "space.timm" in str(told.value) and "seed" in str(told.value)


def test_the_run_folder_holds_the_whole_space_which_needs_no_torch(tmp_path):
    given = recipe(timm="lcnet_050", resolutions=[64, 96])
    (tmp_path / "recipe.yaml").write_text(dump_yaml(given.to_dict()))
    assert load_run_recipe(tmp_path) == given
    code = (
        "import sys; from ofa.config.recipe_file import load_run_recipe; "
        f"load_run_recipe({str(tmp_path)!r}).space.size; print([n for n in ('torch', 'timm') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_check_says_what_is_kept_and_why():
    grouped = " ".join(fixed_choices(recipe(timm="resnext50_32x4d", resolutions=[64, 96]).space))
    assert "groups, so its channels are kept" in grouped
    kept = " ".join(fixed_choices(recipe(timm="mobilenetv4_conv_small", resolutions=[64, 96]).space))
    assert "blocks.0, blocks.1: all blocks are kept" in kept
    assert fixed_choices(SearchSpace.preset("mcu")) == []
