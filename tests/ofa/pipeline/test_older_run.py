"""A run of the version before, of seven stages: `report` timed and scored the models, and there was no `evaluate`.

``older`` makes one of a finished run: it takes back all that this version writes otherwise. A run that the version
before really made (its `ofa run`, this folder's recipe) differs from that in nothing but times.
"""

import json

import pytest

from ofa.config.recipe_file import load_recipe
from ofa.data.identity import data_identity
from ofa.pipeline.manifest import COPY, NAME, RunManifest, digest, file_digest
from ofa.pipeline.stage_inputs import _by_folder, _sections
from ofa.supernet.files import read_json, write_json

WITH_FORMAT = ("report.json", "predictor/quality.json", "search/phone.json", "models/phone/verify.json")
SPLITS = ("train", "validation", "test")


@pytest.fixture
def older(copied):
    """The finished run as the version before would have left it."""
    stages = read_json(copied / NAME)
    del stages["digest"], stages["evaluate"]
    (copied / "evaluation.json").unlink()
    for name in WITH_FORMAT:  # no file said what its format was
        values = read_json(copied / name)
        assert values.pop("format") == 1
        write_json(copied / name, values)
    for stage, entry in stages.items():
        entry["files"] = {name: file_digest(copied / name) for name in entry["files"]}
        if "needs" in entry["inputs"]:
            before = [need for need in entry["inputs"]["needs"] if need != "evaluate"]
            entry["inputs"]["needs"] = {need: digest(stages[need]["files"]) for need in before}
        if stage == "report":  # it read all images, and was timed with the recipe's threads
            recipe = load_recipe(copied / "recipe.yaml")
            entry["inputs"]["recipe"]["measure"] = recipe.to_dict()["measure"]
            entry["inputs"]["data"] = _by_folder(data_identity(recipe.data, splits=SPLITS))
            assert entry["inputs"]["recipe"].keys() == {*_sections("report", recipe), "measure"}
    for name in (NAME, COPY):
        write_json(copied / name, {**stages, "digest": digest(stages)})
    return copied


def test_it_is_shown_as_it_is(call, older, finished):
    code, out, err = call("show", older)
    assert code == 0, err
    shown = [line for line in out.replace(str(older), str(finished.folder)).splitlines() if not line.startswith("--")]
    assert len(shown) > 20 and set(shown) <= set(finished.out.splitlines())  # but for the rule, as long as the path


def test_the_same_command_evaluates_once_and_discards_nothing(call, ran, older):
    before = {path: path.read_bytes() for path in older.rglob("*") if path.is_file()}
    code, out, err = call("run", older)
    assert (code, ran(out)) == (0, ["evaluate", "report"]), err
    assert " moved to " not in out and not list(older.rglob("*.old")) + list(older.rglob("*.damaged"))
    changed = {path.relative_to(older).as_posix() for path, content in before.items() if path.read_bytes() != content}
    assert changed <= {NAME, COPY, "report.json", "report.md", "report.html", "models/phone/card.md"}
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
