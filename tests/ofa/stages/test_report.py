"""The stages ``evaluate`` and ``report``: one measures, the other only shows what was measured."""

import json
import subprocess
import sys
import time

import pytest

from ofa.pipeline.artefacts.evaluation import Evaluation
from ofa.pipeline.artefacts.report import Report
from ofa.pipeline.job import Job
from ofa.stages import STAGE_TABLE

MADE = ("report.json", "report.md", "report.html", "models/phone/card.md")


def everything(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_a_report_is_made_again_without_torch_in_three_seconds(copied):
    """All that it shows is in files: whatever is deleted comes back, byte for byte."""
    before = everything(copied)
    for name in MADE:
        (copied / name).unlink()
    code = (
        f"import sys\nfrom ofa.cli import main\nmain(['report', {str(copied)!r}])\n"
        "print([name for name in ('torch', 'timm', 'sklearn', 'onnxruntime', 'onnx') if name in sys.modules])"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert time.monotonic() - started < 3
    assert done.stdout.splitlines()[-1] == "[]"
    after = everything(copied)
    assert after.keys() == before.keys()
    assert {path.name for path in after if after[path] != before[path]} <= {"run.json", "run.copy.json"}  # seconds


def test_a_report_needs_no_images(call, copied, monkeypatch):
    monkeypatch.setattr(Job, "__init__", lambda *_, **__: pytest.fail("the images were opened"))
    (copied / "report.html").unlink()
    assert call("report", copied)[0] == 0


@pytest.mark.usefixtures("quick_models")
def test_only_evaluate_reads_the_test_images(call, copied, ran, monkeypatch):
    assert [name for name, stage in STAGE_TABLE.items() if "test" in stage.splits] == ["evaluate"]
    read, images = [], Job.images

    def watched(self, split, *arguments, **options):
        read.append((stage, split))
        return images(self, split, *arguments, **options)

    monkeypatch.setattr(Job, "images", watched)
    for stage, file in (
        ("search", "search/phone.json"),
        ("finetune", "finetune/phone.json"),
        ("export", "models/phone/model.onnx"),
        ("evaluate", None),
    ):
        (copied / (file or "evaluation.json")).unlink()
        code, out, err = call(stage, copied)
        assert (code, ran(out)) == (0, [stage]), err
    assert {stage for stage, split in read if split == "test"} == {"evaluate"}
    assert {stage for stage, _ in read} == {"search", "finetune", "export", "evaluate"}


def test_a_report_shows_what_was_evaluated(finished):
    evaluation, report = Evaluation.load(finished.folder), Report.load(finished.folder)
    measured = report.targets["phone"].measured
    assert measured.to_dict().items() >= evaluation.targets["phone"].to_dict().items()
    assert (report.date, report.machine, report.versions) == (evaluation.date, evaluation.machine, evaluation.versions)
    assert (report.data.images, report.classes) == (evaluation.images, evaluation.classes)


def test_a_new_evaluation_makes_the_report_anew_and_nothing_else(call, ran, copied):
    (copied / "evaluation.json").unlink()
    code, out, err = call("run", copied)
    assert (code, ran(out)) == (0, ["evaluate", "report"]), err
    assert json.loads((copied / "evaluation.json").read_text())["targets"].keys() == {"phone"}


def test_a_report_wants_the_evaluation_first(call, unfinished):
    folder = unfinished("evaluate")
    code, _, err = call("report", folder)
    assert (code, err.startswith(f"report needs the stage evaluate first: `ofa evaluate {folder}`")) == (2, True)
