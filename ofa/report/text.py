"""A report as text: for the terminal, and as Markdown."""

from __future__ import annotations

from ofa.pipeline.artefacts.report import Report
from ofa.report.classes import class_tables
from ofa.report.console import aligned, wrapped
from ofa.report.escape import markdown as inline
from ofa.report.escape import markdown_line, printable
from ofa.report.notes import details, error_notes, finetuning_notes, notes
from ofa.report.relaxation import gap, gap_notes
from ofa.report.subnet_drawing import chosen_subnets, subnet_line
from ofa.report.tables import Table, candidates, errors, finetuning, one_line, summary, training

# A terminal shows a page: of more candidates or phases than these, the rest is left to the files.
_MAX_CANDIDATES, _MAX_PHASES = 3, 8


def render_text(report: Report) -> str:
    """What ``ofa show`` prints: some sixty lines for three targets."""
    # The result, with the model files below it: paths are long.
    result = summary(report)
    lines = _aligned(result._replace(columns=result.columns[:-1], rows=[row[:-1] for row in result.rows]), rule=True)
    models = [f"{printable(row[0].text)}: {printable(row[-1].text)}" for row in result.rows]
    blocks = ["\n".join([*lines, "", *models]), _printed(notes(report))]

    measured, left_out = _first_candidates(candidates(report))
    if measured.rows:
        blocks.append(_titled(measured, left_out))
    if (relaxed := gap(report)).rows:
        blocks.append("\n".join([*_aligned(relaxed, title=True), _printed(gap_notes(report))]))
    if (further := finetuning(report)).rows:
        blocks.append("\n".join([*_aligned(further, title=True), _printed(finetuning_notes(report))]))
    blocks.append("\n".join([*_aligned(errors(report), title=True), _printed(error_notes(report))]))

    if subnets := chosen_subnets(report):
        names = [printable(subnet.name) for subnet in subnets]
        width = max(map(len, names))
        lines = (
            wrapped(f"{name:<{width}}  {subnet_line(subnet)}") for name, subnet in zip(names, subnets, strict=True)
        )
        blocks.append("\n".join(["Subnets", *lines]))

    phases = training(report)
    if phases.rows:
        left_out = len(phases.rows) - _MAX_PHASES
        blocks.append(_titled(phases._replace(rows=phases.rows[-_MAX_PHASES:]), left_out))
    return "\n\n".join(blocks)


def render_markdown(report: Report) -> str:
    """``report.md``."""
    blocks = [f"# {inline(report.name)}", markdown_table(summary(report)), _lines(notes(report))]
    below = {"Fine-tuning": finetuning_notes, "Discretisation gap": gap_notes}
    for table in (candidates(report), gap(report), finetuning(report), errors(report), *class_tables(report)):
        if table.rows:
            blocks += [f"## {inline(table.title)}", markdown_table(table)]
        if table.rows and table.title in below:
            blocks.append(_lines(below[table.title](report)))
    blocks.append(_lines(error_notes(report)))
    if subnets := chosen_subnets(report):
        blocks += [
            "## Subnets",
            "\n".join(f"- {markdown_line(subnet.name)}: `{subnet_line(subnet)}`" for subnet in subnets),
        ]
    if (phases := training(report)).rows:
        blocks += [f"## {phases.title}", markdown_table(phases)]
    return "\n\n".join([*blocks, _lines(details(report))]) + "\n"


def _lines(texts: list[str]) -> str:
    return "\n".join(map(markdown_line, texts))


def _printed(texts: list[str]) -> str:
    return "\n".join(wrapped(printable(text)) for text in texts)


def _first_candidates(table: Table) -> tuple[Table, int]:
    """At most a few of each target, the chosen among them, and how many others there are."""
    kept, count = [], dict[str, int]()
    mark = table.columns.index("chosen")
    for row in sorted(table.rows, key=lambda row: not row[mark].text):
        name = row[0].text
        count[name] = count.get(name, 0) + 1
        if count[name] <= _MAX_CANDIDATES:
            kept.append(row)
    rows = [row for row in table.rows if row in kept]
    return table._replace(rows=rows), len(table.rows) - len(rows)


def _titled(table: Table, left_out: int) -> str:
    more = [f"({left_out} more in report.html)"] if left_out > 0 else []
    return "\n".join([*_aligned(table, title=True), *more])


def _aligned(table: Table, *, rule: bool = False, title: bool = False) -> list[str]:
    lines = aligned(table.columns, [[printable(cell.text) for cell in row] for row in table.rows], rule=rule)
    return [table.title, *lines] if title else lines


def markdown_table(table: Table) -> str:
    """GitHub's kind of table."""
    head = "| " + " | ".join(map(inline, map(one_line, table.columns))) + " |\n|" + "---|" * len(table.columns)
    return "\n".join([head, *("| " + " | ".join(inline(cell.text) for cell in row) + " |" for row in table.rows)])
