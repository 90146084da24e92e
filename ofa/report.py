"""The result of a run: one row a target, measured beside predicted; on the screen, as JSON, Markdown and HTML."""

from __future__ import annotations

import datetime
import html
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ofa.errors import UserError
from ofa.recipe import Recipe
from ofa.supernet.files import read_json, write_atomic, write_json

_COLUMNS = (
    "target",
    "limit",
    "subnet\nid, pixels, depths",
    "MACs",
    "params",
    "latency ms\npredicted / measured",
    "validation accuracy %\npredicted / measured",
    "test\n%",
    "model",
)
_ONE_LINE = tuple(column.replace("\n", ", ") for column in _COLUMNS)
_SHOWN_PACKAGES = ("torch", "timm", "onnx", "onnxruntime", "scikit-learn", "numpy")


def write_report(
    recipe: Recipe, folder: Path, measured: dict[str, dict[str, float]], *, counts: dict[str, int]
) -> list[Path]:
    """Writes ``report.json``, ``report.md`` and ``report.html``; returns their paths.

    Args:
        measured: per target ``latency`` in ms and ``test_accuracy`` of the exported file in its runtime.
        counts: images of each split.
    """
    targets = {}
    for name in recipe.targets:
        found = read_json(folder / "search" / f"{name}.json")
        verified = read_json(folder / "models" / name / "verify.json")
        targets[name] = {
            **{key: found[key] for key in ("subnet", "id", "limits", "predicted")},
            "measured": {"validation_accuracy": verified["validation_accuracy"], **measured[name]},
            "verified": verified,
            "model": str(folder / "models" / name / "model.onnx"),
        }
    table = read_json(folder / "costs" / f"{next(iter(recipe.targets))}.json")
    values = {
        "name": recipe.name,
        "date": datetime.date.today().isoformat(),
        "data": {"source": str(recipe.data.folder or recipe.data.idx or "scikit-learn digits"), "images": counts},
        "machine": {"cpu": table["info"]["cpu"], "python": platform.python_version(), "system": platform.platform()},
        "versions": {package: version(package) for package in _SHOWN_PACKAGES},
        "predictor": read_json(folder / "predictor" / "quality.json"),
        "latency_table": table["info"],
        "targets": targets,
    }
    paths = [folder / f"report.{kind}" for kind in ("json", "md", "html")]
    write_json(paths[0], values)
    write_atomic(paths[1], _markdown(values))
    write_atomic(paths[2], _html(values))
    return paths


def show(folder: Path) -> str:
    """The table of a finished run. Raises ``UserError`` when the run has no report yet."""
    path = Path(folder) / "report.json"
    if not path.exists():
        raise UserError(f"{folder}: this run has no report yet; `ofa run {folder}` goes on with it")
    try:
        values = read_json(path)
    except ValueError as error:
        raise UserError(f"{error}; `ofa report {folder}` makes it anew") from error
    headers = [tuple(f"{column}\n".split("\n")[line] for column in _COLUMNS) for line in (0, 1)]
    rows = [*headers, *_rows(values)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines[:2], "-" * max(map(len, lines)), *lines[2:], "", *_notes(values)])


def _rows(values: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for name, target in values["targets"].items():
        predicted, measured = target["predicted"], target["measured"]
        subnet = target["subnet"]
        limits = ", ".join(_quantity(cost, limit) for cost, limit in target["limits"].items())
        over = "!" if measured["latency"] > target["limits"].get("latency", float("inf")) else ""
        rows.append(
            (
                name,
                limits,
                f"{target['id']} {subnet['resolution']} {'-'.join(map(str, subnet['depths']))}",
                _short(predicted["macs"]),
                _short(predicted["params"]),
                f"{predicted['latency']:.3f} / {measured['latency']:.3f}{over}",
                f"{100 * min(predicted['accuracy'], 1):.1f} +-{100 * predicted['accuracy_std']:.1f} / "
                f"{100 * measured['validation_accuracy']:.1f}{_before(target['verified'])}",
                f"{100 * measured['test_accuracy']:.1f}",
                target["model"],
            )
        )
    return rows


def _before(verified: dict[str, Any]) -> str:
    accuracy = verified["validation_accuracy_before_finetuning"]
    return "" if accuracy is None else f" (before fine-tuning {100 * accuracy:.1f})"


def _notes(values: dict[str, Any]) -> list[str]:
    table, images = values["latency_table"], values["data"]["images"]
    notes = [
        f"Latency: one image, {table['runtime']} {table['version']}, {table['threads']} thread(s), {table['cpu']}. "
        f"Accuracy: the exported file in that runtime, {images['validation']} validation and {images['test']} test "
        "images."
    ]
    for name, target in values["targets"].items():
        limit, measured = target["limits"].get("latency"), target["measured"]["latency"]
        if limit is not None and measured > limit:
            notes.append(
                f"! {name}: {measured / limit - 1:.1%} above its latency limit in this last measurement; "
                f"the table's own error on unseen subnets is {table['quality']['mape']:.1%}."
            )
    return notes


def _markdown(values: dict[str, Any]) -> str:
    head = "| " + " | ".join(_ONE_LINE) + " |\n|" + "---|" * len(_COLUMNS)
    body = "\n".join("| " + " | ".join(row) + " |" for row in _rows(values))
    notes = "\n".join(_notes(values) + _details(values))
    return f"# {values['name']}\n\n{head}\n{body}\n\n{notes}\n"


def _html(values: dict[str, Any]) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join([row(_ONE_LINE, "th"), *(row(cells, "td") for cells in _rows(values))])
    notes = "\n".join(f"<p>{html.escape(note)}</p>" for note in _notes(values) + _details(values))
    name = html.escape(values["name"])
    style = "body{font:15px sans-serif;margin:2em}table{border-collapse:collapse}td,th{border:1px solid;padding:.3em}"
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{name}</title>\n<style>{style}</style>\n'
        f"<h1>{name}</h1>\n<table>\n{body}\n</table>\n{notes}\n</html>\n"
    )


def _details(values: dict[str, Any]) -> list[str]:
    predictor, table = values["predictor"], values["latency_table"]["quality"]
    versions = ", ".join(f"{package} {number}" for package, number in values["versions"].items())
    return [
        f"Accuracy predictor on held-out subnets: Kendall tau {predictor['kendall_tau']:.2f}, RMSE "
        f"{100 * predictor['rmse']:.2f} points. Latency table on {table['test_subnets']} unseen subnets: error "
        f"{table['mape']:.1%}, Kendall tau {table['kendall_tau']:.2f} "
        f"(a repeated measurement: {table['repeat_mape']:.1%}).",
        f"{values['date']}, {values['machine']['system']}, Python {values['machine']['python']}, {versions}.",
    ]


def _quantity(cost: str, value: float) -> str:
    return f"<= {value:.3f} ms" if cost == "latency" else f"<= {_short(value)} {cost}"


def _short(count: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"
