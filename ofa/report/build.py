"""The result of a run: measured beside predicted; as ``report.json``, which all other forms are made from."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ofa.config.data import DataConfig
from ofa.config.recipe import Recipe
from ofa.errors import UserError
from ofa.pipeline.manifest import RunManifest
from ofa.report.escape import without_folders_inside
from ofa.report.html import page
from ofa.report.intervals import wilson
from ofa.report.text import markdown, screen
from ofa.supernet.files import read_json, write_atomic, write_json

_SHOWN_PACKAGES = ("torch", "timm", "onnx", "onnxruntime", "scikit-learn", "numpy")
# Of search/TARGET.json: what every run has, and what runs of older versions lack.
_SEARCHED = ("subnet", "id", "limits", "predicted")
_MAY_BE_THERE = ("candidates", "front", "history", "evaluated")


def write_report(
    recipe: Recipe,
    folder: Path,
    measured: dict[str, dict[str, Any]],
    *,
    counts: dict[str, int],
    classes: Sequence[str] = (),
) -> list[Path]:
    """Writes ``report.json``, ``report.md`` and ``report.html``; returns their paths.

    Args:
        measured: per target ``latency`` in ms and, of the exported file in its runtime, ``test_accuracy`` or all that
            ``report_classes.class_figures`` says.
        counts: images of each split.
        classes: names, in the order of the logits.
    """
    targets = {}
    for name in recipe.targets:
        found = read_json(folder / "search" / f"{name}.json")
        verified = read_json(folder / "models" / name / "verify.json")
        targets[name] = {
            **{key: found[key] for key in _SEARCHED},
            **{key: found[key] for key in _MAY_BE_THERE if key in found},
            "measured": {
                "validation_accuracy": verified["validation_accuracy"],
                "validation_interval": list(wilson(verified["validation_accuracy"], counts["validation"])),
                **measured[name],
            },
            "verified": verified,
            "latency_table": _table(folder / "costs" / f"{name}.json"),
            "model": f"models/{name}/{verified.get('file', 'model.onnx')}",
        }
    table = next(iter(targets.values()))["latency_table"]
    values = {
        "name": recipe.name,
        "date": datetime.date.today().isoformat(),
        "data": {"source": _source(recipe.data), "images": counts},
        "classes": list(classes),
        "machine": {
            "cpu": table.get("cpu") or platform.processor(),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "versions": {package: version(package) for package in _SHOWN_PACKAGES},
        "space": recipe.space.to_dict(),
        "predictor": read_json(folder / "predictor" / "quality.json"),
        "latency_table": table,
        "targets": targets,
        "training": _metrics(folder / "train" / "metrics.jsonl"),
    }
    values = without_folders_inside(values)  # a report may be sent to others
    paths = [folder / f"report.{kind}" for kind in ("json", "md", "html")]
    write_json(paths[0], values)
    write_atomic(paths[1], markdown(values))
    write_atomic(paths[2], page(values))
    return paths


def show(folder: Path) -> str:
    """A finished run's report as text. Raises ``UserError`` when the run has no report yet."""
    path = Path(folder) / "report.json"
    if not path.exists():
        raise UserError(f"{folder}: this run has no report yet; `ofa run {folder}` goes on with it")
    try:
        values = read_json(path)
        journal = RunManifest(folder)
        if journal.finished("report") and path in journal.broken("report"):
            raise ValueError(f"{path} is damaged: it is not what was written")
        for target in values["targets"].values():
            if target["model"].startswith("models/"):  # older reports have the folder in it
                target["model"] = str(Path(folder) / target["model"])
        return screen(values)
    except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        text = str(error) if str(path) in str(error) else f"{path} is damaged"
        raise UserError(f"{text}; `ofa report {folder}` makes it anew") from error


def _source(data: DataConfig) -> str:
    """The name of the data without the folder that holds it, which is nobody else's concern."""
    place = data.folder or data.idx
    if place is None:
        return "scikit-learn digits"
    kind = "images of the folder" if data.folder else "IDX files of the folder"
    place = Path(place)
    named = place.name and place.name != ".." and place.absolute() != Path.home()
    return f"{kind} {place.name}" if named else f"{kind} that the recipe names"


def _table(path: Path) -> dict[str, Any]:
    """What is known of a cost table, without its numbers."""
    table = read_json(path)
    return table["info"] | {"cost": table["name"], "unit": table["unit"]}


def _metrics(path: Path) -> list[dict[str, Any]]:
    """Training's figures, an epoch a row; none when the file is not there or damaged: a report needs no curves."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []
