"""A report's tables as values: the same for the screen, Markdown and HTML. Each takes what ``report.json`` holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ofa.report.intervals import in_brackets
from ofa.report.pace import changed
from ofa.report.units import bare, heading, measured_costs, missing_measurement, percent, short, with_unit


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


def summary(values: dict[str, Any]) -> Table:
    """One row a target: limit, network, and measured beside predicted."""
    costs = measured_costs(values)
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
    for name, target in values["targets"].items():
        predicted, measured, subnet = target["predicted"], target["measured"], target["subnet"]
        limits = target["limits"]
        accuracy = f"{percent(min(predicted['accuracy'], 1))} +-{percent(predicted['accuracy_std'])} / "
        rows.append(
            (
                Cell(name),
                Cell(", ".join(f"<= {with_unit(*limit)}" for limit in limits.items()), next(iter(limits.values()))),
                Cell(f"{target['id']} {subnet['resolution']} {'-'.join(map(str, subnet['depths']))}"),
                Cell(short(predicted["macs"]), predicted["macs"]),
                Cell(short(predicted["params"]), predicted["params"]),
                *(_both(cost, target) for cost in costs),
                Cell(
                    accuracy + _measured(measured, "validation") + _before(target["verified"]),
                    measured["validation_accuracy"],
                ),
                Cell(_measured(measured, "test"), measured["test_accuracy"]),
                Cell(target["model"]),
            )
        )
    return Table("Result", columns, rows)


def candidates(values: dict[str, Any]) -> Table:
    """The networks that were measured before one was chosen; no rows when a run measured none."""
    every = [(name, one) for name, target in values["targets"].items() for one in target.get("candidates") or ()]
    costs = [cost for cost in measured_costs(values) if any(cost in one["measured"] for _, one in every)]
    columns = ("target", "subnet", "chosen", *_accuracy_columns(), *_cost_columns(costs))
    rows = [
        (
            Cell(name),
            Cell(found["id"]),
            Cell("yes" if found.get("chosen") else ""),
            *_compared(found["predicted"].get("accuracy"), found["measured"].get("accuracy")),
            *_compared_costs(costs, found),
        )
        for name, found in every
    ]
    return Table("Candidates measured", columns, rows)


def errors(values: dict[str, Any]) -> Table:
    """Of the chosen networks: how far predictions are above (or, with -, below) what was measured."""
    targets = values["targets"]
    costs = [cost for cost in measured_costs(values) if any(cost in one["measured"] for one in targets.values())]
    columns = ("target", *_accuracy_columns(), "error\nstandard deviations", *_cost_columns(costs))
    rows = []
    for name, target in targets.items():
        accuracy, predicted, std = (
            as_predicted(target),
            *(target["predicted"][key] for key in ("accuracy", "accuracy_std")),
        )
        away = (predicted - accuracy) / std if std > 0 else None
        rows.append((Cell(name), *_compared(predicted, accuracy), _signed(away), *_compared_costs(costs, target)))
    return Table("Prediction errors", columns, rows)


def training(values: dict[str, Any]) -> Table:
    """One row a phase, with the figures of its last epoch; no rows when the run has no training figures."""
    watched = watched_networks(values)
    columns = ("phase", "epochs", "highest lr", "loss", *(f"accuracy %\n{name}" for name in watched))
    rows = []
    for epochs in phases(values):
        last, peak = epochs[-1], max(epoch["lr"] for epoch in epochs)
        rows.append(
            (
                Cell(last["phase"]),
                Cell(str(last["epoch"]), last["epoch"]),
                Cell(f"{peak:.3g}", peak),
                Cell(f"{last['loss']:.3f}", last["loss"]),
                *(Cell(percent(last.get(f"accuracy_{one}")), last.get(f"accuracy_{one}")) for one in watched),
            )
        )
    return Table("Training", columns, rows)


def phases(values: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The epochs of each phase of training, in order; phases may share a name."""
    found: list[list[dict[str, Any]]] = []
    for row in values.get("training") or ():
        if not found or row["phase"] != found[-1][-1]["phase"] or row["epoch"] <= found[-1][-1]["epoch"]:
            found.append([])
        found[-1].append(row)
    return found


def watched_networks(values: dict[str, Any]) -> list[str]:
    """The networks whose accuracy training told, smallest first."""
    given = {key for row in values.get("training") or () for key in row if key.startswith("accuracy_")}
    order = ("smallest", "median", "largest")
    names = sorted(key.removeprefix("accuracy_") for key in given)
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def machine(values: dict[str, Any]) -> Table:
    """Where and with what the run was made."""
    names = {"cpu": "CPU", "system": "system", "python": "Python"}
    rows = [("date", values["date"]), ("data", values["data"]["source"])]
    rows += [(f"{split} images", f"{count}") for split, count in values["data"]["images"].items()]
    rows += [(names.get(key, key), text) for key, text in values["machine"].items()]
    rows += list(values["versions"].items())
    return Table("Machine and versions", ("what", "value"), [(Cell(key), Cell(text)) for key, text in rows])


def as_predicted(target: dict[str, Any]) -> float:
    """The measured validation accuracy of what the predictor speaks of: before any fine-tuning, in float32."""
    for key in ("validation_accuracy_before_finetuning", "validation_accuracy_float32"):
        if (accuracy := target["verified"].get(key)) is not None:
            return accuracy
    return target["measured"]["validation_accuracy"]


def cost_tables(values: dict[str, Any]) -> list[tuple[list[str], dict[str, Any]]]:
    """The distinct latency tables: which targets use each, and what is known of it."""
    found: list[tuple[list[str], dict[str, Any]]] = []
    for name, target in values["targets"].items():
        info = target.get("latency_table") or values["latency_table"]
        names = next((names for names, other in found if other == info), None)
        if names is None:
            found.append(([name], info))
        else:
            names.append(name)
    return found


def mean_and_largest(pairs: Sequence[tuple[float, float]], *, relative: bool) -> tuple[float, float] | None:
    """Of the differences between predicted and measured, taken absolute; ``None`` of no pairs."""
    found = [abs(a - b) / (abs(b) if relative else 1) for a, b in pairs if b or not relative]
    return (sum(found) / len(found), max(found)) if found else None


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


def _compared_costs(costs: Sequence[str], found: dict[str, Any]) -> list[Cell]:
    cells = []
    for cost in costs:
        predicted, measured = found["predicted"].get(cost), found["measured"].get(cost)
        difference = 100 * (predicted / measured - 1) if predicted is not None and measured else None
        cells += [Cell(bare(cost, predicted), predicted), Cell(bare(cost, measured), measured), _signed(difference)]
    return cells


def _both(cost: str, target: dict[str, Any]) -> Cell:
    predicted, measured, limit = (target[key].get(cost) for key in ("predicted", "measured", "limits"))
    over = "!" if None not in (measured, limit) and measured > limit else ""
    shown = missing_measurement(cost, target) if measured is None else bare(cost, measured)
    paced = cost == "latency" and changed(target["measured"])
    clock = f" (clock {bare(cost, target['measured']['latency_clock'])})" if paced else ""
    return Cell(f"{bare(cost, predicted)} / {shown}{over}{clock}", predicted if measured is None else measured)


def _signed(value: float | None) -> Cell:
    # A sum with 0.0 takes the sign from a rounded zero.
    return Cell("-" if value is None else f"{round(value, 1) + 0.0:+.1f}", value)


def _measured(measured: dict[str, Any], split: str) -> str:
    """An accuracy in percent, with its interval where that is wide."""
    return percent(measured[f"{split}_accuracy"]) + in_brackets(measured.get(f"{split}_interval"))


def _before(verified: dict[str, Any]) -> str:
    accuracy = verified.get("validation_accuracy_before_finetuning")
    return "" if accuracy is None else f" (before fine-tuning {percent(accuracy)})"
