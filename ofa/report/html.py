"""``report.html``: one page that needs nothing else, in light and dark, on screens and phones."""

from __future__ import annotations

import re

from ofa.pipeline.artefacts.report import Report
from ofa.report import figures
from ofa.report.classes import class_tables
from ofa.report.escape import html as escape
from ofa.report.notes import details, error_notes, finetuning_notes, notes
from ofa.report.relaxation import gap, gap_notes, probabilities, progress, relaxations
from ofa.report.style import SCRIPT, STYLE
from ofa.report.subnet_drawing import chosen_subnets, draw_subnets
from ofa.report.tables import Table, candidates, errors, finetuning, machine, one_line, summary, training

# Letters: cells up to the first stay on one line, longer ones are broken between their parts, text beyond the second
# anywhere.
_SHORT, _LONG = 15, 28


def render_html(report: Report) -> str:
    """The whole file; sections without data are left out."""
    name, further = escape(report.name), _table(finetuning(report))
    sections = [
        _section("Result", _table(summary(report)), _notes(notes(report))),
        _section("Search", _grid([*figures.fronts(report), figures.history(report)])),
        _section(
            "Differentiable search",
            _table(gap(report)),
            _notes(gap_notes(report)) if relaxations(report) else "",
            *probabilities(report),
            _grid(progress(report)),
        ),
        _section("Chosen subnets", draw_subnets(chosen_subnets(report))),
        _section("Candidates measured", _table(candidates(report))),
        _section("Fine-tuning", further, _notes(finetuning_notes(report)) if further else ""),
        _section(
            "Predicted against measured",
            _table(errors(report)),
            _notes(error_notes(report)),
            _grid(figures.predictors(report)),
        ),
        _section(
            "Test images by class",
            *(f"<h3>{escape(table.title)}</h3>\n{_table(table)}" for table in class_tables(report)),
        ),
        _section("Training", _grid(figures.training(report)), _table(training(report))),
        _section("Machine and versions", _table(machine(report), sortable=False)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{name}</title>\n<style>{STYLE}</style></head>\n<body>\n<header><h1>{name}</h1>"
        f"{_notes(details(report))}</header>\n<main>\n{''.join(sections)}</main>\n<script>{SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def _section(title: str, *parts: str) -> str:
    content = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{content}\n</section>\n" if content else ""


def _notes(lines: list[str]) -> str:
    return "\n".join(f'<p class="note">{escape(line)}</p>' for line in lines)


def _grid(parts: list[str]) -> str:
    content = "\n".join(part for part in parts if part)
    return f'<div class="grid">{content}</div>' if content else ""


def _table(table: Table, *, sortable: bool = True) -> str:
    """A table that its headings sort; a column with numbers is aligned to the right. Empty text for no rows."""
    if not table.rows:
        return ""
    numbers = [any(row[column].value is not None for row in table.rows) for column in range(len(table.columns))]
    kinds = ["number" if number else "" for number in numbers]
    heads = []
    for column, kind in zip(table.columns, kinds, strict=True):
        text = escape(one_line(column))
        text = f'<button type="button">{text}</button>' if sortable else text
        heads.append(f'<th scope="col"{_class(kind)}>{text}</th>')

    rows = []
    marked = table.columns.index("chosen") if "chosen" in table.columns else None
    for row in table.rows:
        cells = []
        for cell, kind in zip(row, kinds, strict=True):
            value = "" if cell.value is None else f' data-value="{float(cell.value)!r}"'
            size = "short" if len(cell.text) <= _SHORT else "long" if not kind and len(cell.text) > _LONG else ""
            text = escape(cell.text) if size else _in_parts(cell.text)
            cells.append(f"<td{_class(kind, size)}{value}>{text}</td>")
        mark = ' class="chosen"' if marked is not None and row[marked].text else ""
        rows.append(f"<tr{mark}>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(table.title)}">'
        f"<table{' class=sortable' if sortable else ''}><thead><tr>{''.join(heads)}</tr></thead>\n"
        f"<tbody>{chr(10).join(rows)}</tbody></table></div>"
    )


def _class(*names: str) -> str:
    text = " ".join(filter(None, names))
    return f' class="{text}"' if text else ""


def _in_parts(text: str) -> str:
    """Lines break after a comma, after a slash and before a bracket: numbers, units and intervals stay whole."""
    parts = re.split(r"(?<=[,/]) | (?=\()", text)
    return " ".join(f'<span class="short">{escape(part)}</span>' for part in parts)
