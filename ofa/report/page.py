"""What every page that we write is made of: a frame that needs nothing else, sections, notes and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ofa.report.escape import html as escape
from ofa.report.style import SCRIPT, STYLE
from ofa.report.tables import Table, one_line

# Letters: cells up to the first stay on one line, longer ones are broken between their parts, text beyond the second
# anywhere.
_SHORT, _LONG = 15, 28


def page(name: str, introduction: Sequence[str], sections: Sequence[str]) -> str:
    """The whole file, in light and dark, on screens and phones; ``sections`` are HTML."""
    title = escape(name)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n<header><h1>{title}</h1>"
        f"{paragraphs(introduction)}</header>\n<main>\n{''.join(sections)}</main>\n<script>{SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what is below it; empty text where that is empty."""
    content = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{content}\n</section>\n" if content else ""


def paragraphs(lines: Sequence[str]) -> str:
    """Sentences, a paragraph each."""
    return "\n".join(f'<p class="note">{escape(line)}</p>' for line in lines)


def grid(parts: Sequence[str]) -> str:
    """Charts beside each other, as many as there is room for."""
    content = "\n".join(part for part in parts if part)
    return f'<div class="grid">{content}</div>' if content else ""


def table_html(table: Table, *, sortable: bool = True) -> str:
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
