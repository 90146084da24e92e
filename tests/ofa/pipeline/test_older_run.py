"""A run of an older version, of seven stages: `report` timed and scored the models, and there was neither `evaluate`
nor `finetune`.

``older`` makes one of a finished run: it takes back all that this version writes otherwise. A run that the version
before really made (its `ofa run`, this folder's recipe) differs from that in nothing but times.
"""

import json
import shutil

import pytest

from ofa.config.recipe_file import load_run_recipe
from ofa.data.identity import data_identity
from ofa.pipeline.manifest import COPY, NAME, RunManifest, digest, file_digest
from ofa.pipeline.stage_inputs import _by_folder, _sections
from ofa.supernet.files import read_json, write_json

WITH_FORMAT = ("report.json", "predictor/quality.json", "search/phone.json", "models/phone/verify.json")
pytestmark = pytest.mark.usefixtures("quick_models")
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def plain(run_again):
    """The finished run with its networks as they were searched; and what its command printed."""
    return run_again("--set", "finetune=false")


@pytest.fixture
def older(plain, tmp_path):
    """That run as an older version would have left it."""
    folder = shutil.copytree(plain.folder, tmp_path / "older")
    stages = read_json(folder / NAME)
    for stage in ("digest", "evaluate", "finetune"):
        del stages[stage]
    (folder / "evaluation.json").unlink()
    shutil.rmtree(folder / "finetune")
    recipe = (folder / "recipe.yaml").read_text()
    assert recipe.count("finetune: false\n") == 1
    (folder / "recipe.yaml").write_text(recipe.replace("finetune: false\n", ""))
    for name in WITH_FORMAT:  # no file said what its format was
        values = read_json(folder / name)
        assert values.pop("format") == 1
        write_json(folder / name, values)
    for stage, entry in stages.items():
        entry["files"] = {name: file_digest(folder / name) for name in entry["files"]}
        if "needs" in entry["inputs"]:
            before = [need for need in entry["inputs"]["needs"] if need != "evaluate"]
            entry["inputs"]["needs"] = {need: digest(stages[need]["files"]) for need in before}
        if stage == "report":  # it read all images, and was timed with the recipe's threads
            recipe = load_run_recipe(folder)
            entry["inputs"]["recipe"]["measure"] = recipe.to_dict()["measure"]
            entry["inputs"]["data"] = _by_folder(data_identity(recipe.data, splits=SPLITS))
            assert entry["inputs"]["recipe"].keys() == {*_sections("report", recipe), "measure"}
    for name in (NAME, COPY):
        write_json(folder / name, {**stages, "digest": digest(stages)})
    return folder


def test_it_is_shown_as_it_is(call, older, plain):
    code, out, err = call("show", older)
    assert code == 0, err
    shown = [line for line in out.replace(str(older), str(plain.folder)).splitlines() if not line.startswith("--")]
    assert len(shown) > 20 and set(shown) <= set(plain.out.splitlines())  # but for the rule, as long as the path


def test_the_same_command_evaluates_once_and_discards_nothing(call, ran, older):
    before = {path: path.read_bytes() for path in older.rglob("*") if path.is_file()}
    code, out, err = call("run", older)
    assert (code, ran(out)) == (0, ["evaluate", "report"]), err
    assert " moved to " not in out and not list(older.rglob("*.old")) + list(older.rglob("*.damaged"))
    changed = {path.relative_to(older).as_posix() for path, content in before.items() if path.read_bytes() != content}
    assert changed <= {NAME, COPY, "recipe.yaml", "report.json", "report.md", "report.html", "models/phone/card.md"}
    for stage in ("train", "collect", "predict", "measure", "search", "export"):
        assert RunManifest(older).outputs(stage) == json.loads(before[older / NAME])[stage]["files"]
    assert call("run", older)[1].startswith(f"{older}: nothing to do, all stages are finished")


@pytest.mark.parametrize("stage", ["train", "collect", "predict", "measure", "search", "export"])
def test_its_stages_are_finished(call, older, stage):
    assert call(stage, older)[1].startswith(f"{older}: nothing to do, {stage} is finished")


def test_its_report_says_what_to_do_first(call, older):
    code, _, err = call("report", older)
    assert (code, err) == (
        2,
        f"report needs the stage evaluate first: `ofa evaluate {older}`, or `ofa run {older}` for all\n",
    )


def test_its_networks_are_fine_tuned_only_when_that_is_asked_for(call, ran, older, small):
    """Its recipe, given again, has a section that is new: training of the networks, and other models."""
    before = {path: path.read_bytes() for path in older.rglob("*") if path.is_file()}
    code, _, err = call("run", small, "--out", older)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(
        f"{older} belongs to another recipe (finetune: false, now absent; finetune.epochs: absent, now "
    )
    assert "--update to change this run (finetune, export and report run again, which took " in err
    assert all(path.read_bytes() == content for path, content in before.items())

    code, out, err = call("run", small, "--out", older, "--update")
    assert (code, ran(out)) == (0, ["finetune", "export", "evaluate", "report"]), err
    assert call("run", older)[1].startswith(f"{older}: nothing to do, all stages are finished")


def test_networks_that_were_fine_tuned_in_export_are_not_trained_again_unasked(call, ran, older):
    """Targets could ask for it before; it was a part of the stage export."""
    recipe = (older / "recipe.yaml").read_text()
    assert recipe.count("    finetune: null\n") == 1
    (older / "recipe.yaml").write_text(recipe.replace("    finetune: null\n", "    finetune: {epochs: 1, lr: 0.01}\n"))
    stages = read_json(older / NAME)
    del stages["digest"]
    for stage in ("search", "export"):
        stages[stage]["inputs"]["recipe"]["targets"]["phone"]["finetune"] = {"epochs": 1, "lr": 0.01}
    for name in (NAME, COPY):
        write_json(older / name, {**stages, "digest": digest(stages)})
    code, _, err = call("run", older)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{older}: what it was made from has changed (the stage finetune has not run yet); nothing is thrown" in err
    assert "(finetune, export and report run again, which took " in err
    code, out, err = call("run", older, "--update")
    assert (code, ran(out)) == (0, ["finetune", "export", "evaluate", "report"]), err
