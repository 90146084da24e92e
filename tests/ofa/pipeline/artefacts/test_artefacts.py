"""The JSON files of a run as typed values: read, written again the same, or refused by name."""

import json

import pytest
from pydantic import ValidationError

from ofa.errors import UserError
from ofa.pipeline.artefacts.cost_info import CostInfo
from ofa.pipeline.artefacts.evaluation import Evaluation
from ofa.pipeline.artefacts.finetuning import FinetuningRecord
from ofa.pipeline.artefacts.quality import PredictorQuality
from ofa.pipeline.artefacts.report import Report
from ofa.pipeline.artefacts.search import Figures, SearchRecord
from ofa.pipeline.artefacts.verification import Program, Verification
from ofa.pipeline.manifest import RunManifest
from ofa.stages import STAGES

ARTEFACTS = [Evaluation, FinetuningRecord, PredictorQuality, Report, SearchRecord, Verification]
every = pytest.mark.parametrize("kind", ARTEFACTS, ids=lambda kind: kind.__name__)


@every
def test_what_is_read_is_written_again_byte_for_byte(kind, copied):
    path = kind.path(copied, "phone")
    before = path.read_bytes()
    assert json.loads(before)["format"] == kind.FORMAT and kind.STAGE in STAGES
    assert kind.load(copied, "phone").save(copied, "phone") == path
    assert path.read_bytes() == before


@every
def test_a_file_without_a_format_is_of_the_first(kind, copied):
    """As every version wrote it before files had one."""
    whole, path = kind.load(copied, "phone"), kind.path(copied, "phone")
    values = json.loads(path.read_text())
    del values["format"]
    path.write_text(json.dumps(values))
    assert kind.load(copied, "phone") == whole


@every
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: {**values, "format": 99}, "is of format 99, which a newer version of once-for-all writes"),
        (lambda values: [values], "is damaged"),
        (lambda values: {}, "is damaged"),
        (lambda values: "{", "is damaged"),
    ],
    ids=["newer", "list", "empty", "text"],
)
def test_what_cannot_be_read_is_named_in_one_sentence(kind, copied, change, words):
    path = kind.path(copied, "phone")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError) as caught:
        kind.load(copied, "phone")
    text = str(caught.value)
    assert text.startswith(f"{path} {words}") and f"`ofa {kind.STAGE} {copied}`" in text and "\n" not in text
    path.unlink()
    with pytest.raises(UserError, match=f"is missing; `ofa {kind.STAGE} "):
        kind.load(copied, "phone")


@every
def test_values_are_frozen(kind, finished):
    value = kind.load(finished.folder, "phone")
    with pytest.raises(ValidationError):
        setattr(value, next(iter(kind.model_fields)), None)


def test_keys_of_a_newer_version_are_passed_over(copied):
    path = SearchRecord.path(copied, "phone")
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 3}))
    assert SearchRecord.load(copied, "phone").id


def test_costs_stand_beside_the_accuracy():
    figures = Figures(accuracy=0.5, latency=2.0, macs=3.0)
    assert figures.costs == {"latency": 2.0, "macs": 3.0} and figures.cost("sram") is None
    assert figures.to_dict() == {"accuracy": 0.5, "latency": 2.0, "macs": 3.0}
    assert Figures(latency=1.0).to_dict() == {"latency": 1.0}  # what was not measured is not written
    with pytest.raises(ValidationError):
        Figures(latency="fast")


def test_a_program_s_costs_are_those_that_were_measured():
    program = Program.model_validate({"name": "net", "sram": 100.0, "verified": True, "ram_bytes": 100})
    assert program.costs == {"sram": 100.0}
    assert program.to_dict() == {"name": "net", "sram": 100.0, "verified": True, "ram_bytes": 100}


def test_what_a_cost_table_holds_for_is_read_without_its_numbers(finished, copied):
    info = CostInfo.load(finished.folder, "phone")
    table = json.loads((finished.folder / "costs" / "phone.json").read_text())
    assert info.to_dict() == table["info"] | {"cost": "latency", "unit": "ms"}
    (copied / "costs" / "phone.json").write_text("{}")
    with pytest.raises(UserError, match=f"phone.json is missing or damaged; `ofa measure {copied}` makes it anew"):
        CostInfo.load(copied, "phone")


def test_a_newer_manifest_is_refused_and_not_taken_for_damaged(call, copied):
    path = copied / "run.json"
    path.write_text(json.dumps({"format": 2, **json.loads(path.read_text())}))
    with pytest.raises(UserError, match=r"run\.json is of format 2, which a newer version of once-for-all writes"):
        RunManifest(copied)
    code, _, err = call("run", copied)
    assert (code, err.count("\n")) == (2, 1)
