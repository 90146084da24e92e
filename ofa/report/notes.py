"""A report's sentences: on what it was measured, what is above its limit, and how good the predictions were."""

from __future__ import annotations

from typing import Any

from ofa.report.classes import class_notes
from ofa.report.intervals import LEVEL, MIN_HALF_WIDTH, wide
from ofa.report.pace import drift_words, pace_note
from ofa.report.shared import shared_notes
from ofa.report.tables import as_predicted, cost_tables, mean_and_largest
from ofa.report.units import measured_costs, origin


def notes(values: dict[str, Any]) -> list[str]:
    """What belongs below the result table."""
    images, found = values["data"]["images"], []
    costs: dict[str, str] = {}
    environments: dict[str, list[str]] = {}
    for names, table in cost_tables(values):
        threads = f"{table['threads']} thread(s)" if table.get("threads") else ""
        runtime = origin(table) + (" int8" if table.get("bits") == 8 else "")
        where = ", ".join(filter(None, (runtime, threads, table.get("cpu"))))
        environments.setdefault(f"one image, {where}.", []).extend(names)
        costs[f"one image, {where}."] = table.get("cost", "latency").capitalize()
    for where, names in environments.items():
        which = f" of {', '.join(names)}" if len(environments) > 1 else ""
        found.append(f"{costs[where]}{which}: {where}")
    found[-1] += (
        f" Accuracy: the exported file in that runtime, {images['validation']} validation and {images['test']} test "
        "images."
    )
    found += [*_intervals(values), *shared_notes(values), *class_notes(values)]
    for name, target in values["targets"].items():
        table = target.get("latency_table") or values["latency_table"]
        for cost, limit in target["limits"].items():
            measured = target["measured"].get(cost)
            if measured is not None and measured > limit:
                known = table.get("quality", {}).get("mape") if cost == table.get("cost", "latency") else None
                error = "" if known is None else f"; the table's own error on unseen subnets is {known:.1%}"
                found.append(
                    f"! {name}: {measured / limit - 1:.1%} above its {cost} limit in this last measurement{error}."
                )
        if note := pace_note(target["measured"]):
            found.append(f"! {name}: {note}.")
        found += _int8(name, target["verified"])
    return found


def error_notes(values: dict[str, Any]) -> list[str]:
    """How far predictions were from measurements, on subnets that nothing was fitted to and on the chosen ones."""
    predictor, found = values["predictor"], []
    found.append(
        f"Accuracy predictor on held-out subnets: Kendall tau {predictor['kendall_tau']:.2f}, RMSE "
        f"{100 * predictor['rmse']:.2f} points."
    )
    tables = cost_tables(values)
    for names, info in tables:
        table, which = info.get("quality"), f" of {', '.join(names)}" if len(tables) > 1 else ""
        if table:
            found.append(
                f"{info.get('cost', 'latency').capitalize()} table{which} on {table['test_subnets']} unseen subnets: "
                f"error {_share(table['mape'])}, Kendall tau {_two(table['kendall_tau'])} "
                f"(a repeated measurement: {_share(table.get('repeat_mape'))}){drift_words(info.get('pace_drift'))}."
            )
    targets, costs = values["targets"].values(), measured_costs(values)
    candidates = [one for target in targets for one in target.get("candidates") or ()]
    measured = [(one["predicted"], one["measured"]) for one in candidates]
    found += _difference(f"{len(candidates)} measured candidates", measured, costs)
    if any("accuracy" not in one for _, one in measured):
        found.append("Candidates without a measured accuracy were above a limit when they were measured.")
    chosen = [(target["predicted"], target["measured"] | {"accuracy": as_predicted(target)}) for target in targets]
    which = f"{len(chosen)} chosen subnets" if len(chosen) > 1 else "the chosen subnet"
    return found + _difference(which, chosen, costs)


def details(values: dict[str, Any]) -> list[str]:
    """When, on what machine and with which versions."""
    versions = ", ".join(f"{package} {number}" for package, number in values["versions"].items())
    return [f"{values['date']}, {values['machine']['system']}, Python {values['machine']['python']}, {versions}."]


def _intervals(values: dict[str, Any]) -> list[str]:
    """The rule by which accuracies have an interval beside them, when one has."""
    measured = [target["measured"] for target in values["targets"].values()]
    found = [one[key] for one in measured for key in ("validation_interval", "test_interval") if key in one]
    if not any(map(wide, found)):
        return []
    return [
        f"In brackets: the {LEVEL:.0%} interval (Wilson) of an accuracy, as so few images tell it; left out where it "
        f"is within {100 * MIN_HALF_WIDTH:g} points to each side."
    ]


def _int8(name: str, verified: dict[str, Any]) -> list[str]:
    """What rounding to int8 cost, and whether that is more than the recipe allows."""
    if not (int8 := verified.get("int8")):
        return []
    before, after = verified["validation_accuracy_float32"], verified["validation_accuracy"]
    words = f"int8 ({int8['used']}) has {100 * after:.1f} % validation accuracy, float32 {100 * before:.1f} %"
    if int8["within"]:
        return [f"{name}: {words}."]
    tried = ", ".join(int8["tried"])
    return [f"! {name}: {words}, more apart than the {100 * int8['allowed_drop']:.1f} points allowed; tried: {tried}."]


def _difference(which: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]], costs: list[str]) -> list[str]:
    def of(cost: str, *, relative: bool) -> tuple[float, float] | None:
        both = [(one.get(cost), other.get(cost)) for one, other in pairs]
        return mean_and_largest([pair for pair in both if None not in pair], relative=relative)

    parts = []
    if accuracy := of("accuracy", relative=False):
        parts.append(f"accuracy {100 * accuracy[0]:.2f} points on average, {100 * accuracy[1]:.2f} at most")
    for cost in costs:
        if error := of(cost, relative=True):
            parts.append(f"{cost} {error[0]:.1%} on average, {error[1]:.1%} at most")
    return [f"Difference between predicted and measured, {which}: {'; '.join(parts)}."] if parts else []


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _two(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
