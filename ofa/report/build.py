"""The report of a run: put together from the files of its stages, written in three forms, and shown as text."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from ofa.config.data import DataConfig
from ofa.config.recipe import Recipe
from ofa.config.relaxing import relaxing
from ofa.errors import UserError
from ofa.pipeline.artefacts.cost_info import CostInfo
from ofa.pipeline.artefacts.evaluation import Evaluation
from ofa.pipeline.artefacts.quality import PredictorQuality
from ofa.pipeline.artefacts.relaxation import RelaxationRecord
from ofa.pipeline.artefacts.report import Data, Epoch, Measured, Report, TargetReport
from ofa.pipeline.artefacts.search import SearchRecord
from ofa.pipeline.artefacts.verification import Verification
from ofa.pipeline.manifest import RunManifest
from ofa.report.escape import without_folders_inside
from ofa.report.html import render_html
from ofa.report.intervals import wilson
from ofa.report.subnet_drawing import describe_subnet
from ofa.report.text import render_markdown, render_text
from ofa.supernet.files import write_atomic


def build_report(recipe: Recipe, folder: Path, evaluation: Evaluation) -> Report:
    """Measured beside predicted, from the files in the run folder. Raises ``UserError`` naming one that is damaged."""
    tables = {name: CostInfo.load(folder, name) for name in recipe.targets}
    targets = {name: _target(folder, name, evaluation, tables[name]) for name in recipe.targets}
    if relaxing(recipe):
        found = {name: RelaxationRecord.load(folder, name) for name in recipe.targets}
        targets = {name: each.model_copy(update={"relaxation": found[name]}) for name, each in targets.items()}
    report = Report(
        name=recipe.name,
        date=evaluation.date,
        data=Data(source=_source(recipe.data), images=evaluation.images),
        classes=evaluation.classes,
        machine=evaluation.machine,
        versions=evaluation.versions,
        space=recipe.space.to_dict(),
        predictor=PredictorQuality.load(folder),
        latency_table=next(iter(tables.values())),
        targets=targets,
        training=_metrics(folder / "train" / "metrics.jsonl"),
        drawn=tuple(describe_subnet(name, recipe.space, target.subnet) for name, target in targets.items()),
    )
    # A report may be sent to others, whom the folders of this machine do not concern.
    return Report.model_validate(without_folders_inside(report.to_dict()))


def write_report(report: Report, folder: Path) -> list[Path]:
    """Writes ``report.json``, ``report.md`` and ``report.html``; returns their paths."""
    paths = [report.save(folder), folder / "report.md", folder / "report.html"]
    write_atomic(paths[1], render_markdown(report))
    write_atomic(paths[2], render_html(report))
    return paths


def show(folder: Path) -> str:
    """A finished run's report as text. Raises ``UserError`` when the run has no report yet, or it is damaged."""
    folder = Path(folder)
    path, remedy = Report.path(folder), f"`ofa report {folder}` makes it anew"
    if not path.exists():
        raise UserError(f"{folder}: this run has no report yet; `ofa run {folder}` goes on with it")
    report = Report.load(folder)
    manifest = RunManifest(folder)
    if manifest.finished("report") and path in manifest.broken("report"):
        raise UserError(f"{path} is damaged: it is not what was written; {remedy}")
    try:
        return render_text(report.with_models_below(folder))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"{path} is damaged; {remedy}") from error


def _target(folder: Path, name: str, evaluation: Evaluation, table: CostInfo) -> TargetReport:
    search, verified = SearchRecord.load(folder, name), Verification.load(folder, name)
    validation = {
        "validation_accuracy": verified.validation_accuracy,
        "validation_interval": wilson(verified.validation_accuracy, evaluation.images["validation"]),
    }
    program = verified.program.costs if verified.program else {}
    measured = Measured(**program, **validation, **evaluation.targets[name].to_dict())
    return TargetReport(
        **search.to_dict() | {"measured": measured},
        verified=verified.to_dict(),
        latency_table=table,
        model=f"models/{name}/{verified.file}",
    )


def _source(data: DataConfig) -> str:
    """The name of the data without the folder that holds it, which is nobody else's concern."""
    path = data.folder or data.idx
    if path is None:
        return "scikit-learn digits"
    kind = "images of the folder" if data.folder else "IDX files of the folder"
    path = Path(path)
    named = path.name and path.name != ".." and path.absolute() != Path.home()
    return f"{kind} {path.name}" if named else f"{kind} that the recipe names"


def _metrics(path: Path) -> tuple[Epoch, ...]:
    """Training's figures, an epoch a row; none when the file is not there or damaged: a report needs no curves."""
    try:
        return tuple(Epoch.model_validate(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, ValidationError):
        return ()
