"""``report.html``: one page that needs nothing else, in light and dark, on screens and phones."""

from __future__ import annotations

from ofa.pipeline.artefacts.report import Report
from ofa.report import figures
from ofa.report.classes import class_tables
from ofa.report.escape import html as escape
from ofa.report.notes import details, error_notes, finetuning_notes, notes
from ofa.report.page import grid, page, paragraphs, section, table_html
from ofa.report.relaxation import gap, gap_notes, probabilities, progress, relaxations
from ofa.report.subnet_drawing import chosen_subnets, draw_subnets
from ofa.report.tables import candidates, errors, finetuning, machine, summary, training


def render_html(report: Report) -> str:
    """The whole file; sections without data are left out."""
    further = table_html(finetuning(report))
    sections = [
        section("Result", table_html(summary(report)), paragraphs(notes(report))),
        section("Search", grid([*figures.fronts(report), figures.history(report)])),
        section(
            "Differentiable search",
            table_html(gap(report)),
            paragraphs(gap_notes(report)) if relaxations(report) else "",
            *probabilities(report),
            grid(progress(report)),
        ),
        section("Chosen subnets", draw_subnets(chosen_subnets(report))),
        section("Candidates measured", table_html(candidates(report))),
        section("Fine-tuning", further, paragraphs(finetuning_notes(report)) if further else ""),
        section(
            "Predicted against measured",
            table_html(errors(report)),
            paragraphs(error_notes(report)),
            grid(figures.predictors(report)),
        ),
        section(
            "Test images by class",
            *(f"<h3>{escape(table.title)}</h3>\n{table_html(table)}" for table in class_tables(report)),
        ),
        section("Training", grid(figures.training(report)), table_html(training(report))),
        section("Machine and versions", table_html(machine(report), sortable=False)),
    ]
    return page(report.name, details(report), sections)
