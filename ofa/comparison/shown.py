"""A comparison as it is shown: one table, the sentences that it needs, charts, a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ofa.comparison.compared import ComparedRun, ComparedTarget, open_runs, regret
from ofa.comparison.measures import Point, hypervolume, pareto_front
from ofa.report.charts import Series, chart
from ofa.report.console import aligned, wrapped
from ofa.report.escape import printable
from ofa.report.page import grid, page, paragraphs, section, table_html
from ofa.report.tables import Cell, Table
from ofa.report.units import Axis, axis, format_value, percent, with_unit
from ofa.supernet.files import write_atomic


def compare(folders: Sequence[Path], out: Path) -> str:
    """Text for a terminal, of the runs in ``folders``; writes ``out`` with the same table and a chart for each cost.

    Raises ``UserError`` for a folder that is no finished run, or is given twice.
    """
    runs = open_runs(folders)
    targets = [ComparedTarget(run, name, target) for run in runs for name, target in run.report.targets.items()]
    table, notes = comparison(targets), comparison_notes(runs, targets)
    sections = [section("Result", table_html(table), paragraphs(notes)), section("Fronts", grid(fronts(targets)))]
    write_atomic(out, page("Comparison", [", ".join(run.name for run in runs)], sections))
    rows = [[printable(cell.text) for cell in row] for row in table.rows]
    lines = [*aligned(table.columns, rows, rule=True), "", *(wrapped(printable(note)) for note in notes)]
    return "\n".join([*lines, "", f"with charts: {out}"])


def comparison(targets: Sequence[ComparedTarget]) -> Table:
    """One row a target."""
    columns = (
        "run",
        "target",
        "search",
        "limit",
        "validation accuracy %\npredicted / measured",
        "cost\npredicted / measured",
        "front\npredicted / measured",
        "hypervolume %\npredicted / measured",
        "regret\npoints",
        "seconds\nsearch / all",
    )
    return Table("Result", columns, [_row(one, targets) for one in targets])


def _row(one: ComparedTarget, targets: Sequence[ComparedTarget]) -> tuple[Cell, ...]:
    found, cost, reference = one.target, one.cost, references(targets)[one.cost]
    fronts = pareto_front(one.predicted), pareto_front(one.measured)
    volumes = [hypervolume(points, reference=reference) for points in fronts]
    missed, search = 100 * regret(one, targets), one.run.seconds["search"]
    measured, predicted = found.measured.costs.get(cost), found.predicted.cost(cost)
    pair = format_value(cost, predicted)
    if measured is not None:
        pair += f" / {format_value(cost, measured)}"
    everything = sum(one.run.seconds.values())
    limits = ", ".join(f"<= {with_unit(*limit)}" for limit in found.limits.items())
    accuracies = f"{percent(found.predicted.accuracy)} / {percent(found.measured.validation_accuracy)}"
    return (
        Cell(one.run.name),
        Cell(one.name),
        Cell(one.run.strategy),
        Cell(limits, next(iter(found.limits.values()))),
        Cell(accuracies, found.measured.validation_accuracy),
        Cell(f"{pair} {axis(cost, reference).cost}", measured if measured is not None else predicted),
        Cell(" / ".join(str(len(points)) for points in fronts), len(fronts[1])),
        Cell(" / ".join(map(percent, volumes)), volumes[1]),
        Cell(f"{missed:.1f}", missed),
        Cell(f"{search:.1f} / {everything:.1f}", search),
    )


def references(targets: Sequence[ComparedTarget]) -> dict[str, float]:
    """The highest of each cost among limits and networks of all targets: what their hypervolumes are taken to."""
    found: dict[str, float] = {}
    for one in targets:
        costs = [one.target.limits[one.cost], *(point.cost for point in (*one.predicted, *one.measured))]
        found[one.cost] = max([*costs, found.get(one.cost, 0.0)])
    return found


def comparison_notes(runs: Sequence[ComparedRun], targets: Sequence[ComparedTarget]) -> list[str]:
    """What the figures are, and what keeps them from being compared."""
    reached = ", ".join(with_unit(cost, value) for cost, value in references(targets).items())
    notes = [
        "Measured figures are those of the model file, after any fine-tuning; a cost that is counted exactly needs no "
        f"measurement. Hypervolume is the mean, over all limits up to {reached}, of the best accuracy inside the "
        "limit. Regret is to the best network that any of these runs measured inside the row's limits."
    ]
    first = runs[0]
    if others := [run.name for run in runs if run.data != first.data]:
        notes.append(
            f"{', '.join(others)}: other images than those of {first.name}, so accuracies, hypervolumes and regret are "
            "not of the same task and cannot be compared between them."
        )
    if others := [run.name for run in runs if run.space != first.space]:
        notes.append(f"{', '.join(others)}: another search space than that of {first.name}.")
    if others := [run.name for run in runs if run.report.machine.cpu != first.report.machine.cpu]:
        notes.append(
            f"{', '.join(others)}: another processor than that of {first.name}, so seconds and latencies differ."
        )
    return notes


def fronts(targets: Sequence[ComparedTarget]) -> list[str]:
    """A chart for each cost: the measured front of each target as a line, and what was predicted as rings."""
    charts = []
    for cost, reference in references(targets).items():
        shown, series = axis(cost, reference), []
        for colour, one in enumerate(one for one in targets if one.cost == cost):
            name = f"{one.run.name} {one.name}"
            series += [
                _series(f"{name}, measured", pareto_front(one.measured), colour, shown, measured=True),
                _series(f"{name}, predicted", pareto_front(one.predicted), colour, shown, measured=False),
            ]
        title = f"Accuracy against {shown.cost}"
        charts.append(chart(title, series, x=shown.text, y="validation accuracy (%)"))
    return charts


def _series(name: str, points: Sequence[Point], colour: int, shown: Axis, *, measured: bool) -> Series:
    return Series(
        name,
        [(shown.factor * point.cost, 100 * point.accuracy) for point in points],
        colour,
        "square" if measured else "ring",
        line=measured,
        labels=[f"{name}: {100 * p.accuracy:.1f} %, {shown.factor * p.cost:.3g} {shown.unit}" for p in points],
    )
