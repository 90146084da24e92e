"""Recipe keys of earlier versions: named in a recipe, read in a run folder."""

import json

import pytest
import yaml

from ofa.config.recipe import Recipe
from ofa.config.recipe_file import load_recipe, load_run_recipe
from ofa.config.renamed import RENAMED_KEYS, RENAMED_VALUES, with_new_names
from ofa.errors import UserError
from ofa.pipeline.manifest import RunManifest, digest

VALUES = {
    "data.validation": 0.25,
    "data.test_share": 0.15,
    "train.later_lr": 2.0,
    "train.distill": 0.5,
    "train.loss": "kl",
    "train.accumulate": 2,
    "train.ranks": "different",
    "train.watch_images": 16,
}


def with_old_names(values: dict) -> dict:
    """Sections of a recipe as the version before wrote them."""
    renamed = {key: dict(section) if isinstance(section, dict) else section for key, section in values.items()}
    for old, new in RENAMED_KEYS.items():
        (section, key), new_key = old.split("."), new.split(".")[1]
        if new_key in (renamed.get(section) or ()):
            value = renamed[section].pop(new_key)
            before = {now: was for was, now in RENAMED_VALUES.get(new, {}).items()}
            renamed[section][key] = before.get(value, value) if isinstance(value, str) else value
    return renamed


@pytest.fixture
def old_run(copied):
    """The finished run as the version before would have left it."""
    path = copied / "recipe.yaml"
    path.write_text(yaml.safe_dump(with_old_names(yaml.safe_load(path.read_text())), sort_keys=False))
    stages = json.loads((copied / "run.json").read_text())
    del stages["digest"]
    for entry in stages.values():
        entry["inputs"]["recipe"] = with_old_names(entry["inputs"]["recipe"])
    assert any("later_lr" in entry["inputs"]["recipe"].get("train", {}) for entry in stages.values())
    for name in ("run.json", "run.copy.json"):
        (copied / name).write_text(json.dumps(stages | {"digest": digest(stages)}))
    return copied


def test_every_new_name_is_a_key_and_no_old_one_is():
    known = {f"{name}.{key}" for name in ("data", "train") for key in Recipe.model_fields[name].annotation.model_fields}
    assert set(RENAMED_KEYS.values()) <= known
    assert not set(RENAMED_KEYS) & known
    assert set(VALUES) == set(RENAMED_KEYS)


def test_a_recipe_with_old_keys_is_told_all_new_names_at_once(small):
    overrides = [f"{key}={value}" for key, value in VALUES.items()]
    with pytest.raises(UserError) as caught:
        load_recipe(small, overrides=[*overrides, "seed=-1"])
    lines = str(caught.value).splitlines()
    for old, new in RENAMED_KEYS.items():
        assert any(line.startswith(f"--set {old}: is called {new} now") for line in lines), old
    assert len(lines) == len(RENAMED_KEYS) + 1 and lines[-1].startswith("--set seed: ")
    assert "(same is shared, different is independent)" in str(caught.value)


def test_a_value_below_an_old_key_is_checked_as_well(small, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(small.read_text().replace("lr: 0.1}", "lr: 0.1, accumulate: -3}"))
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    renamed, wrong = str(caught.value).splitlines()
    assert renamed == f"{path}: train.accumulate: is called train.grad_accum_steps now"
    assert wrong.startswith(f"{path}: train.grad_accum_steps: must be")


def test_old_values_become_new_ones():
    old = {"data": {}, "train": {}}
    for key, value in VALUES.items():
        section, name = key.split(".")
        old[section][name] = value
    new = with_new_names(old)
    assert new["data"] == {"val_fraction": 0.25, "test_fraction": 0.15}
    assert new["train"]["subnets_per_rank"] == "independent" and new["train"]["shrinking_lr_scale"] == 2.0
    assert with_old_names(new) == old and with_new_names(new) == new
    for odd in ({"train": None}, {"train": [1]}, {"data": "x"}, {}):
        assert with_new_names(odd) == odd


def test_a_run_folder_of_the_version_before_goes_on_and_trains_nothing_again(old_run, call):
    assert "later_lr" in (old_run / "recipe.yaml").read_text()
    recipe = load_run_recipe(old_run)
    code, out, err = call("run", old_run)
    assert (code, err) == (0, "")
    assert "nothing to do" in out
    assert load_recipe(old_run / "recipe.yaml") == recipe  # written anew, with the names of today
    assert call("show", old_run)[0] == 0


def test_a_change_of_an_old_run_is_told_by_its_new_name(old_run, call):
    code, _, err = call("run", old_run, "--set", "train.distill_weight=0.5")
    assert code == 2 and "train.distill_weight: 1.0, now 0.5" in err and "distill: " not in err.replace("weight: ", "")
    assert RunManifest(old_run).finished("train")


def test_an_old_key_as_an_option_is_told_its_new_name(old_run, call):
    code, _, err = call("check", old_run, "--set", "train.later_lr=2")
    assert code == 2 and err.strip() == "--set train.later_lr: is called train.shrinking_lr_scale now"


PHASES_BEFORE = [{"name": "a", "epochs": 1, "lr": 0.1}, {"name": "b", "epochs": 1, "lr": 0.1, "kernel": 2, "expand": 1}]


def test_open_options_of_a_phase_have_a_section_of_their_own(small):
    recipe = yaml.safe_load(small.read_text()) | {"name": "small", "train": {"phases": PHASES_BEFORE}}
    with pytest.raises(UserError) as caught:
        Recipe.from_dict(recipe)
    assert "train.phases.1.kernel: is called train.phases.1.open.kernel now" in str(caught.value)
    first, second = with_new_names(recipe)["train"]["phases"]
    assert first == PHASES_BEFORE[0]
    assert second == {"name": "b", "epochs": 1, "lr": 0.1, "open": {"kernel": 2, "expand": 1}}
    assert Recipe.from_dict(with_new_names(recipe)).train.phases[1].open.kernel == 2
