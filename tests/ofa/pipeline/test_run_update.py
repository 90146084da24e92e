"""Work is never thrown away unasked: what changed is named, and what would run again; ``--update`` lets it."""

import json

import pytest

from ofa.config.recipe_file import load_recipe
from ofa.data.readers.splits import SPLIT_RULE
from ofa.pipeline import stage_inputs
from ofa.pipeline.manifest import RunManifest, digest
from ofa.pipeline.stage_inputs import changes, stages_of, summarize_changes
from ofa.stages import STAGES


def everything(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def data(monkeypatch):
    """``data(rows)``: what the images are now; ``train_rows``: those that training reads."""

    def now(rows, train_rows=None):
        def identity(_, *, splits, **_others):
            chosen = rows if train_rows is None or splits != ("train",) else train_rows
            return [["split rule", SPLIT_RULE], *chosen]

        monkeypatch.setattr(stage_inputs, "data_identity", identity)

    return now


MORE = [["train/cat/1.png", 10, "a"], ["train/cat/2.png", 11, "b"], ["train/dog/1.png", 12, "c"]]
TOLD = "data: train/cat has 2 files more; data: train/dog has 1 files more"


@pytest.mark.parametrize("stage", ["train", None], ids=["in the middle of training", "finished"])
def test_other_images_throw_nothing_away(call, copied, unfinished, data, stage):
    if stage:
        unfinished(stage)
    data(MORE)
    before = everything(copied)
    code, out, err = call("run", copied)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"{copied}: what it was made from has changed ({TOLD}); nothing is thrown away unasked: ")
    stages = "train, collect, predict, measure, search, finetune, export, evaluate and report run again, which took "
    assert f"give `ofa run {copied} --update` ({stages}" in err
    assert everything(copied) == before


def test_update_lets_it_now_and_when_the_same_goes_on(call, ran, copied, data):
    data(MORE)
    code, out, err = call("train", copied, "--update")
    assert (code, ran(out)) == (0, ["train"]), err
    assert out.startswith(f"{copied}: {TOLD}: train, collect, ")
    assert out.count("is of another recipe, other data or other weights: moved to checkpoint-") == 3
    assert len(list((copied / "train").glob("*.safetensors.old"))) == 3
    # What --update allowed holds for the stages after it too, in a later command.
    code, out, err = call("collect", copied)
    assert (code, ran(out)) == (0, ["collect"]), err
    assert (copied / "accuracy.csv.old").exists()
    # It was allowed for that change only.
    data(MORE[:2])
    code, _, err = call("collect", copied)
    assert (code, "data: train/dog has 1 files less" in err) == (2, True), err
    assert f"give `ofa run {copied} --update`" in err


def test_update_of_one_stage_allows_nothing_before_it(call, ran, copied, data):
    """Such as `ofa measure --ssh HOST`, which changes the recipe by itself."""
    data(MORE)
    code, out, _ = call("measure", copied, "--update")
    assert (code, ran(out)) == (0, ["measure"])
    assert f"{TOLD}: measure, search, finetune, export, evaluate and report run again" in out
    code, _, err = call("run", copied)
    assert (code, "nothing is thrown away unasked" in err) == (2, True)
    assert [RunManifest(copied).allowed(name) for name in STAGES] == [False] * len(STAGES)


def test_a_changed_validation_image_leaves_training_alone(call, copied, data):
    data([["val/cat/1.png", 5]], [])
    code, _, err = call("run", copied)
    assert code == 2
    assert "(data: val/cat has 1 files more)" in err
    assert "(collect, predict, measure, search, finetune, export, evaluate and report run again" in err


def test_a_recipe_changed_by_hand_asks_too(call, copied):
    path = copied / "recipe.yaml"
    path.write_text(path.read_text().replace("lr: 0.1", "lr: 0.25"))
    before = everything(copied)
    code, _, err = call("run", copied)
    assert code == 2
    assert err.startswith(f"{copied}: what it was made from has changed (train.lr: 0.1, now 0.25)")
    assert everything(copied) == before


def test_another_recipe_is_told_with_what_else_changed(call, copied, small, data):
    data(MORE)
    code, _, err = call("run", small, "--out", copied, "--set", "targets.phone.limits.macs=0.6x")
    assert code == 2
    assert f'targets.phone.limits.macs: "0.8x", now "0.6x"; {TOLD}' in err
    again = "train, collect, predict, measure, search, finetune, export, evaluate and report run again"
    assert f"--update to change this run ({again}" in err


def test_other_results_of_a_stage_before_it(call, copied, monkeypatch):
    """Weights that came out otherwise (another version of torch, say) do not discard measured rows."""
    journal = RunManifest(copied)
    weights = copied / "supernet" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    journal.finish("train", journal.inputs("train"), [weights], seconds=1)
    before = everything(copied)
    code, _, err = call("run", copied)
    assert code == 2
    assert (
        "(train made other files since)" in err
        and "(collect, predict, search, finetune, export, evaluate and report run again" in err
    )
    assert everything(copied) == before


def test_moved_data_and_weights_are_no_change(copied):
    recipe = load_recipe(copied / "recipe.yaml")
    moved = recipe.model_copy(update={"data": recipe.data.model_copy(update={"workers": 9})})
    assert changes(RunManifest(copied), "train", moved) == []
    sections = stage_inputs._sections("train", recipe)
    assert not {"folder", "idx", "workers"} & sections["data"].keys()
    assert "init" not in sections["train"]


def test_a_key_that_came_with_a_newer_version_changes_nothing(copied):
    """An entry written before a key was there: its default is what was done then."""
    recipe, journal = load_recipe(copied / "recipe.yaml"), RunManifest(copied)
    for name in stages_of(recipe):
        inputs = journal.inputs(name)
        for section in ("train", "collect", "search", "measure"):
            if section in inputs["recipe"]:
                inputs["recipe"][section].pop({"train": "ema", "collect": "batch", "search": "seconds"}.get(section), 0)
        assert changes(journal, name, recipe) == []
        inputs["recipe"]["seed"] = 5
        if "seed" in stage_inputs.STAGE_TABLE[name].sections:
            assert changes(journal, name, recipe) == ["seed: 5, now 0"]


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"recipe": 3},
        {"recipe": {"seed": [], "space": {}, "data": 0, "train": None}},
        {"recipe": {}, "data": {"cat": 5}},
        {"recipe": {}, "data": [1], "needs": "x"},
    ],
)
def test_inputs_of_somebody_else_are_a_change_and_no_traceback(copied, inputs):
    values = json.loads((copied / "run.json").read_text())
    del values["digest"]
    for name in values:
        values[name]["inputs"] = inputs
    (copied / "run.json").write_text(json.dumps({**values, "digest": digest(values)}))
    journal, recipe = RunManifest(copied), load_recipe(copied / "recipe.yaml")
    assert journal.problem is None
    for name in stages_of(recipe):
        assert changes(journal, name, recipe)


def test_a_run_of_an_older_version(call, ran, copied):
    """It kept one digest of all inputs: a finished one is left alone, an unfinished one cannot go on unasked."""
    values = json.loads((copied / "run.json").read_text())
    del values["digest"]
    for entry in values.values():
        entry["inputs"] = digest(entry["inputs"])
    (copied / "run.copy.json").unlink()
    (copied / "run.json").write_text(json.dumps(values))
    before = everything(copied)
    assert call("run", copied)[1].startswith(f"{copied}: nothing to do")
    (copied / "run.copy.json").unlink()  # written now, beside the same entries with a digest
    assert {path for path, content in everything(copied).items() if before[path] != content} == {copied / "run.json"}
    del values["collect"]["files"]
    (copied / "run.json").write_text(json.dumps(values))
    before = everything(copied)
    code, _, err = call("run", copied)
    assert (code, err.startswith(f"{copied} was made by an older version of once-for-all")) == (2, True)
    assert everything(copied) == before


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ([], [], []),
        ([["a/1", 1]], [["a/1", 1]], []),
        ([["a/1", 1]], [["a/1", 2]], ["data: files in a were changed or replaced"]),
        ([["a/1", 1]], [["a/2", 1]], ["data: files in a were changed or replaced"]),
        ([["a/1", 1], ["b/1", 1]], [["a/1", 1]], ["data: b has 1 files less"]),
        ([["images", 1]], [["images", 1], ["labels", 2]], ["data: its classes or its files are others"]),
    ],
)
def test_what_of_the_data_changed(before, now, found):
    assert stage_inputs._data_changes(*map(stage_inputs._by_folder, (before, now))) == found


def test_many_changes_are_cut_short():
    assert summarize_changes([f"k{n}" for n in range(7)]) == "k0; k1; k2; k3; k4; and 2 more"
