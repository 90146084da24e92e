"""Costs in a report: how each is written, and which of them are measured."""

from __future__ import annotations

from typing import NamedTuple

from ofa.pipeline.artefacts.cost_info import CostInfo
from ofa.pipeline.artefacts.report import Report, TargetReport
from ofa.predictors.costs.names import COSTS

_PREFIXES = (("G", 1e9, "billions"), ("M", 1e6, "millions"), ("k", 1e3, "thousands"))


# How the costs that have a unit are written; the others are counts.
_SHOWN = {name: cost.shown for name, cost in COSTS.items() if cost.shown}
_EXACT = [name for name, cost in COSTS.items() if cost.exact]  # nothing is left to measure


class Axis(NamedTuple):
    """How a chart shows a cost: the axis's name and unit, and the factor from the table's unit to it."""

    cost: str
    unit: str
    factor: float
    text: str


NOT_HERE = "not measured here"


def origin(table: CostInfo) -> str:
    """Where a table's costs are from: a runtime and its version, or a file of the user's own."""
    if table.runtime is not None:
        return f"{table.runtime} {table.version}"
    return f"as {table.file or 'a file'} says ({table.source or 'costs from elsewhere'}), {NOT_HERE}"


def missing_measurement(cost: str, target: TargetReport) -> str:
    """What stands in the place of a measurement that a target lacks."""
    table = target.latency_table
    own_file = table is not None and table.file is not None and table.runtime is None
    return NOT_HERE if own_file and table.cost == cost else "-"


def measured_costs(report: Report) -> list[str]:
    """Latency, and every other cost that is predicted and either limited or measured for some target."""
    costs = {"latency": None}
    for target in report.targets.values():
        candidates = (candidate.measured.costs for candidate in target.candidates)
        limited_or_measured = set(target.limits).union(target.measured.costs, *candidates)
        costs |= dict.fromkeys(cost for cost in target.predicted.costs if cost in limited_or_measured)
    return [cost for cost in costs if cost not in _EXACT]


def heading(cost: str) -> str:
    """``latency ms``, ``sram KB``, ``instructions``."""
    return f"{cost} {_SHOWN[cost].unit}" if cost in _SHOWN else cost


def format_value(cost: str, value: float | None) -> str:
    """The number alone, as its column's heading explains; ``-`` where there is none."""
    if value is None:
        return "-"
    shown = _SHOWN.get(cost)
    return f"{value / shown.size:.{shown.decimals}f}" if shown else short(value)


def with_unit(cost: str, value: float) -> str:
    """``0.090 ms``, ``64.0 KB``, ``400 M macs``."""
    shown = _SHOWN.get(cost)
    if shown is None:
        return f"{short(value)} {cost}"
    amount = f"{format_value(cost, value)} {shown.unit}"
    return f"{amount} {cost}" if shown.named else amount


def axis(cost: str, largest: float) -> Axis:
    """``largest`` decides whether counts are shown in thousands, millions or billions."""
    if shown := _SHOWN.get(cost):
        return Axis(cost, shown.unit, 1 / shown.size, f"{cost} ({shown.unit})")
    name = (COSTS[cost].plural if cost in COSTS else "") or cost
    for prefix, size, word in _PREFIXES:
        if largest >= size:
            return Axis(name, f"{prefix} {name}", 1 / size, f"{name} ({word})")
    return Axis(name, name, 1.0, name)


def percent(fraction: float | None) -> str:
    """A fraction in percent; ``-`` where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def short(count: float) -> str:
    """Three digits and ``k``, ``M`` or ``G``."""
    for prefix, size, _ in _PREFIXES:
        if count >= size:
            return f"{count / size:.3g} {prefix}"
    return f"{count:.0f}"
