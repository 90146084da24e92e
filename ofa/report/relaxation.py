"""What a report says of a differentiable search: its probabilities, its discretisation gap, what went wrong."""

from __future__ import annotations

from ofa.pipeline.artefacts.relaxation import Relaxation
from ofa.pipeline.artefacts.report import Report, TargetReport
from ofa.report.charts import Series, chart
from ofa.report.small_multiples import Panel, small_multiples
from ofa.report.tables import Cell, Table
from ofa.report.units import percent


def relaxations(report: Report) -> dict[str, Relaxation]:
    """By target; empty for other strategies."""
    return {name: target.relaxation for name, target in report.targets.items() if target.relaxation}


def probabilities(report: Report) -> list[str]:
    """A figure for each search, of one target or several: a small chart for each gene that has a choice."""
    found = relaxations(report)
    # Targets that shared a search have equal records.
    names = {id(first): [name for name in found if found[name] == first] for first in found.values()}
    first_of = {tuple(targets): found[targets[0]] for targets in names.values()}
    return [
        small_multiples(
            f"{', '.join(targets)}: probabilities of each choice ({relaxation.method})",
            _panels(relaxation),
            x="left to right: epochs",
        )
        for targets, relaxation in first_of.items()
    ]


def _panels(found: Relaxation) -> list[Panel]:
    """The probabilities of each gene's options after each epoch."""
    if not found.history:  # its file was lost
        return []
    return [
        Panel(
            gene.name.replace("_", " "),
            gene.options,
            list(zip(*(epoch.probabilities[number] for epoch in found.history), strict=True)),
        )
        for number, gene in enumerate(found.genes)
        if len(gene.options) > 1
    ]


def progress(report: Report) -> list[str]:
    """How decided the searches were after each epoch, and what was left out of their networks; a line a target."""

    def lines(field: str) -> list[Series]:
        return [
            Series(
                name,
                [(row.epoch, getattr(row, field)) for row in found.history if getattr(row, field) is not None],
                number,
                line=True,
            )
            for number, (name, found) in enumerate(relaxations(report).items())
        ]

    figures = [
        chart(title, lines(field), x="epoch", y=y, whole_x=True)
        for title, field, y in (
            ("Entropy of the probabilities", "entropy", "share of the highest"),
            ("What is left out of the network", "skip_share", "share"),
        )
    ]
    return [figure for figure in figures if figure]


def gap(report: Report) -> Table:
    """From the relaxed network to the one that was trained further; no rows for other strategies."""
    columns = (
        "target",
        "method",
        "relaxed\nnetwork %",
        "most probable network %\nas it is",
        "most probable network %\ncalibrated",
        "most probable network %\nsupernet's weights",
        "after fine-tuning\n%",
        "gap\npoints",
    )
    rows = []
    for name, found in relaxations(report).items():
        values = found.accuracies
        steps = (values.relaxed, values.inherited, values.calibrated, values.supernet)
        finetuned = _finetuned(report.targets[name])
        difference = 100 * (values.relaxed - values.calibrated)
        rows.append(
            (
                Cell(name),
                Cell(found.method),
                *(Cell(percent(value), value) for value in steps),
                Cell("-" if finetuned is None else percent(finetuned), finetuned),
                Cell(f"{difference:+.1f}", difference),
            )
        )
    return Table("Discretisation gap", columns, rows)


def gap_notes(report: Report) -> list[str]:
    """How the table is to be read, and what went wrong."""
    lines = [
        "Validation accuracy. The gap is what the relaxed network loses when it becomes one network, calibrated, with "
        "the weights of the search; the run goes on with the trained supernet's weights."
    ]
    for name, found in relaxations(report).items():
        target = report.targets[name]
        if found.alternates:
            lines.append(
                f"{name}: with so few training images each of them taught the weights in some epochs and the "
                "architecture in others (k-fold architecture validation)."
            )
        if target.id != found.id:
            lines.append(f"{name}: another candidate ({target.id}) did better than the most probable one ({found.id}).")
        if found.stopped:
            lines.append(f"! {name}: the search stopped early: {found.stopped}.")
        lines += [f"! {name}: {warning}." for warning in found.warnings]
    return lines


def _finetuned(target: TargetReport) -> float | None:
    """What the most probable network came to, if it is the one that was trained further."""
    trained = target.verified.finetuned
    return trained.after.accuracy if trained and trained.after and target.id == target.relaxation.id else None
