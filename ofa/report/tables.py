"""A report's tables as values: the same for the screen, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ofa.pipeline.artefacts.cost_info import CostInfo
from ofa.pipeline.artefacts.report import Epoch, Report, TargetReport
from ofa.pipeline.artefacts.search import Candidate
from ofa.report.intervals import in_brackets
from ofa.report.pace import changed
from ofa.report.units import format_value, heading, measured_costs, missing_measurement, percent, short, with_unit


class Cell(NamedTuple):
    """What a table shows, and the number by which the row is sorted; without one it is sorted by its text."""

    text: str
    value: float | None = None


class Table(NamedTuple):
    """Columns may be two lines, divided by ``\\n``, where there is room for that."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


def one_line(column: str) -> str:
    return column.replace("\n", ", ")


def summary(report: Report) -> Table:
    """One row a target: limit, network, and measured beside predicted."""
    costs = measured_costs(report)
    columns = (
        "target",
        "limit",
        "subnet\nid, pixels, depths",
        "MACs",
        "params",
        *(f"{heading(cost)}\npredicted / measured" for cost in costs),
        "validation accuracy %\npredicted / measured",
        "test\n%",
        "model",
    )
    rows = []
    for name, target in report.targets.items():
        predicted, measured, subnet, limits = target.predicted, target.measured, target.subnet, target.limits
        macs, params = predicted.cost("macs"), predicted.cost("params")
        accuracy = (
            f"{percent(min(predicted.accuracy, 1))} +-{percent(predicted.accuracy_std)} / "
            f"{percent(measured.validation_accuracy)}{in_brackets(measured.validation_interval)}"
        )
        if (before := target.verified.accuracy_before_finetuning) is not None:
            accuracy += f" (before fine-tuning {percent(before)})"
        rows.append(
            (
                Cell(name),
                Cell(", ".join(f"<= {with_unit(*limit)}" for limit in limits.items()), next(iter(limits.values()))),
                Cell(f"{target.id} {subnet.resolution} {'-'.join(map(str, subnet.depths))}"),
                Cell(short(macs), macs),
                Cell(short(params), params),
                *(_both(cost, target) for cost in costs),
                Cell(accuracy, measured.validation_accuracy),
                Cell(percent(measured.test_accuracy) + in_brackets(measured.test_interval), measured.test_accuracy),
                Cell(target.model),
            )
        )
    return Table("Result", columns, rows)


def candidates(report: Report) -> Table:
    """The networks that were measured before one was chosen; no rows when a run measured none."""
    pairs = [(name, candidate) for name, target in report.targets.items() for candidate in target.candidates]
    costs = [cost for cost in measured_costs(report) if any(cost in candidate.measured.costs for _, candidate in pairs)]
    columns = ("target", "subnet", "chosen", *_accuracy_columns(), *_cost_columns(costs))
    rows = [
        (
            Cell(name),
            Cell(candidate.id),
            Cell("yes" if candidate.chosen else ""),
            *_compared(candidate.predicted.accuracy, candidate.measured.accuracy),
            *_compared_costs(costs, candidate),
        )
        for name, candidate in pairs
    ]
    return Table("Candidates measured", columns, rows)


def finetuning(report: Report) -> Table:
    """What training the chosen networks further has changed on the validation images; no rows where none was."""
    pairs = ("validation accuracy %\nbefore / after", "cross-entropy\nbefore / after")
    columns = ("target", "epochs", "highest lr", *pairs, "kept")
    rows = []
    for name, target in report.targets.items():
        if (found := target.verified.finetuned) is None:
            continue
        before, after = found.before, found.after
        accuracies = f"{percent(before.accuracy)} / {percent(after.accuracy) if after else '-'}"
        losses = f"{before.loss:.3f} / {f'{after.loss:.3f}' if after else '-'}"
        rows.append(
            (
                Cell(name),
                Cell(str(found.epochs), found.epochs),
                Cell(f"{found.lr:.3g}", found.lr),
                Cell(accuracies, (after or before).accuracy),
                Cell(losses, (after or before).loss),
                Cell("yes" if found.kept else "no, no better" if after else "no, it diverged"),
            )
        )
    return Table("Fine-tuning", columns, rows)


def errors(report: Report) -> Table:
    """Of the chosen networks: how far predictions are above (or, with -, below) what was measured."""
    targets = report.targets.values()
    costs = [cost for cost in measured_costs(report) if any(cost in target.measured.costs for target in targets)]
    columns = ("target", *_accuracy_columns(), "error\nstandard deviations", *_cost_columns(costs))
    rows = []
    for name, target in report.targets.items():
        predicted, std = target.predicted.accuracy, target.predicted.accuracy_std
        accuracy = target.accuracy_as_predicted
        deviations = (predicted - accuracy) / std if std else None
        rows.append((Cell(name), *_compared(predicted, accuracy), _signed(deviations), *_compared_costs(costs, target)))
    return Table("Prediction errors", columns, rows)


def training(report: Report) -> Table:
    """One row a phase, with the figures of its last epoch; no rows when the run has no training figures."""
    watched = watched_networks(report)
    columns = ("phase", "epochs", "highest lr", "loss", *(f"accuracy %\n{name}" for name in watched))
    rows = []
    for epochs in phases(report):
        last, peak = epochs[-1], max(epoch.lr for epoch in epochs)
        rows.append(
            (
                Cell(last.phase),
                Cell(str(last.epoch), last.epoch),
                Cell(f"{peak:.3g}", peak),
                Cell(f"{last.loss:.3f}", last.loss),
                *(Cell(percent(last.accuracies.get(name)), last.accuracies.get(name)) for name in watched),
            )
        )
    return Table("Training", columns, rows)


def phases(report: Report) -> list[list[Epoch]]:
    """The epochs of each phase of training, in order; phases may share a name."""
    phases: list[list[Epoch]] = []
    for row in report.training:
        if not phases or row.phase != phases[-1][-1].phase or row.epoch <= phases[-1][-1].epoch:
            phases.append([])
        phases[-1].append(row)
    return phases


def watched_networks(report: Report) -> list[str]:
    """The networks whose accuracy was measured while training, smallest first."""
    order = ("smallest", "median", "largest")
    names = sorted({name for row in report.training for name in row.accuracies})
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def machine(report: Report) -> Table:
    """Where and with what the run was measured."""
    rows = [("date", report.date), ("data", report.data.source)]
    rows += [(f"{split} images", f"{count}") for split, count in report.data.images.items()]
    rows += [("CPU", report.machine.cpu), ("Python", report.machine.python), ("system", report.machine.system)]
    rows += list(report.versions.items())
    return Table("Machine and versions", ("what", "value"), [(Cell(key), Cell(text)) for key, text in rows])


def cost_tables(report: Report) -> list[tuple[list[str], CostInfo]]:
    """The distinct latency tables: which targets use each, and what is known of it."""
    tables: list[tuple[list[str], CostInfo]] = []
    for name in report.targets:
        info = report.table_of(name)
        names = next((names for names, other in tables if other == info), None)
        if names is None:
            tables.append(([name], info))
        else:
            names.append(name)
    return tables


def mean_and_largest(pairs: Sequence[tuple[float, float]], *, relative: bool) -> tuple[float, float] | None:
    """Of the differences between predicted and measured, taken absolute; ``None`` of no pairs."""
    differences = [abs(a - b) / (abs(b) if relative else 1) for a, b in pairs if b or not relative]
    return (sum(differences) / len(differences), max(differences)) if differences else None


def _accuracy_columns() -> tuple[str, ...]:
    return "accuracy %\npredicted", "accuracy %\nmeasured", "error\npoints"


def _cost_columns(costs: Sequence[str]) -> list[str]:
    return [
        column for cost in costs for column in (f"{heading(cost)}\npredicted", f"{heading(cost)}\nmeasured", "error\n%")
    ]


def _compared(predicted: float | None, measured: float | None) -> tuple[Cell, Cell, Cell]:
    known = predicted is not None and measured is not None
    difference = 100 * (predicted - measured) if known else None
    return Cell(percent(predicted), predicted), Cell(percent(measured), measured), _signed(difference)


def _compared_costs(costs: Sequence[str], network: Candidate | TargetReport) -> list[Cell]:
    cells = []
    for cost in costs:
        predicted, measured = network.predicted.cost(cost), network.measured.cost(cost)
        difference = 100 * (predicted / measured - 1) if predicted is not None and measured else None
        cells += [Cell(format_value(cost, value), value) for value in (predicted, measured)]
        cells.append(_signed(difference))
    return cells


def _both(cost: str, target: TargetReport) -> Cell:
    predicted, measured, limit = target.predicted.cost(cost), target.measured.cost(cost), target.limits.get(cost)
    over = "!" if None not in (measured, limit) and measured > limit else ""
    shown = missing_measurement(cost, target) if measured is None else format_value(cost, measured)
    paced = cost == "latency" and changed(target.measured)
    clock = f" (clock {format_value(cost, target.measured.latency_clock)})" if paced else ""
    return Cell(f"{format_value(cost, predicted)} / {shown}{over}{clock}", predicted if measured is None else measured)


def _signed(value: float | None) -> Cell:
    # A sum with 0.0 takes the sign from a rounded zero.
    return Cell("-" if value is None else f"{round(value, 1) + 0.0:+.1f}", value)
