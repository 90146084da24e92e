"""A report's sentences: on what it was measured, what is above its limit, and how good the predictions were."""

from __future__ import annotations

from ofa.pipeline.artefacts.report import Report, TargetReport
from ofa.pipeline.artefacts.search import Figures, Predicted
from ofa.report.classes import class_notes
from ofa.report.intervals import LEVEL, MIN_HALF_WIDTH, wide
from ofa.report.pace import drift_words, pace_note
from ofa.report.shared import shared_notes
from ofa.report.tables import cost_tables, mean_and_largest
from ofa.report.units import measured_costs, origin


def notes(report: Report) -> list[str]:
    """What belongs below the result table."""
    lines = [*_environments(report), *_intervals(report), *shared_notes(report), *class_notes(report)]
    for name, target in report.targets.items():
        lines += _above_limits(report, name)
        if note := pace_note(target.measured):
            lines.append(f"! {name}: {note}.")
        lines += _int8(name, target)
    return lines


def error_notes(report: Report) -> list[str]:
    """How far predictions were from measurements, on subnets that nothing was fitted to and on the chosen ones."""
    predictor, targets, costs = report.predictor, report.targets.values(), measured_costs(report)
    learnt = f" (of {predictor.target.replace('_', ' ')})" if predictor.target not in (None, "accuracy") else ""
    lines = [
        f"Accuracy predictor{learnt} on held-out subnets: Kendall tau {predictor.kendall_tau:.2f}, RMSE "
        f"{100 * predictor.rmse:.2f} points.",
        *_table_errors(report),
    ]

    # Of the candidates, which search measured before it chose.
    candidates = [candidate for target in targets for candidate in target.candidates]
    pairs = [(candidate.predicted, candidate.measured) for candidate in candidates]
    lines += _difference(f"{len(candidates)} measured candidates", pairs, costs)
    if any(candidate.measured.accuracy is None for candidate in candidates):
        lines.append("Candidates without a measured accuracy were above a limit when they were measured.")

    # Of the chosen: their files, in the runtime that will run them.
    chosen = [
        (target.predicted, Figures(accuracy=target.accuracy_as_predicted, **target.measured.costs))
        for target in targets
    ]
    which = f"{len(chosen)} chosen subnets" if len(chosen) > 1 else "the chosen subnet"
    return lines + _difference(which, chosen, costs)


def finetuning_notes(report: Report) -> list[str]:
    """How the table of fine-tuning is to be read."""
    return [
        "The same validation images chose the network and decided whether its training was kept, so both accuracies "
        "are flattered a little; the test images, which decided nothing, say what it is worth."
    ]


def details(report: Report) -> list[str]:
    """When, on what machine and with which versions."""
    versions = ", ".join(f"{package} {number}" for package, number in report.versions.items())
    return [f"{report.date}, {report.machine.system}, Python {report.machine.python}, {versions}."]


def _environments(report: Report) -> list[str]:
    """Where costs and accuracies were measured: a line for each runtime with its settings, and whose targets' it is."""
    images = report.data.images
    costs: dict[str, str] = {}
    targets: dict[str, list[str]] = {}
    for names, table in cost_tables(report):
        threads = f"{table.threads} thread(s)" if table.threads else ""
        runtime = origin(table) + (" int8" if table.bits == 8 else "")
        where = ", ".join(filter(None, (runtime, threads, table.cpu)))
        targets.setdefault(where, []).extend(names)
        costs[where] = table.cost.capitalize()
    lines = []
    for where, names in targets.items():
        which = f" of {', '.join(names)}" if len(targets) > 1 else ""
        lines.append(f"{costs[where]}{which}: one image, {where}.")
    lines[-1] += (
        f" Accuracy: the exported file in that runtime, {images['validation']} validation and {images['test']} test "
        "images."
    )
    return lines


def _above_limits(report: Report, name: str) -> list[str]:
    """A line for each limit that the last measurement was above."""
    target, table, lines = report.targets[name], report.table_of(name), []
    for cost, limit in target.limits.items():
        measured = target.measured.cost(cost)
        if measured is None or measured <= limit:
            continue
        known = table.quality.mape if table.quality and cost == table.cost else None
        error = "" if known is None else f"; the table's own error on unseen subnets is {known:.1%}"
        lines.append(f"! {name}: {measured / limit - 1:.1%} above its {cost} limit in this last measurement{error}.")
    return lines


def _table_errors(report: Report) -> list[str]:
    """A line for each cost table that was compared with whole subnets."""
    tables, lines = cost_tables(report), []
    for names, info in tables:
        quality, which = info.quality, f" of {', '.join(names)}" if len(tables) > 1 else ""
        if quality:
            tau = "unknown" if quality.kendall_tau is None else f"{quality.kendall_tau:.2f}"
            lines.append(
                f"{info.cost.capitalize()} table{which} on {quality.test_subnets} unseen subnets: error "
                f"{_fraction(quality.mape)}, Kendall tau {tau} (a repeated measurement: "
                f"{_fraction(quality.repeat_mape)}){drift_words(info.pace_drift)}."
            )
    return lines


def _intervals(report: Report) -> list[str]:
    """The rule by which accuracies have an interval beside them, when one has."""
    measured = [target.measured for target in report.targets.values()]
    intervals = [interval for figures in measured for interval in (figures.validation_interval, figures.test_interval)]
    if not any(map(wide, filter(None, intervals))):
        return []
    return [
        f"In brackets: the {LEVEL:.0%} interval (Wilson) of an accuracy, as so few images tell it; left out where it "
        f"is within {100 * MIN_HALF_WIDTH:g} points to each side."
    ]


def _int8(name: str, target: TargetReport) -> list[str]:
    """What rounding to int8 cost, and whether that is more than the recipe allows."""
    if not (int8 := target.verified.int8):
        return []
    before, after = target.verified.validation_accuracy_float32, target.verified.validation_accuracy
    words = f"int8 ({int8.used}) has {100 * after:.1f} % validation accuracy, float32 {100 * before:.1f} %"
    if int8.trained:
        other, accuracy = int8.untrained
        words += f"; before that training, float32 {100 * int8.training.float32_before:.1f} %"
        words += f", int8 at best {100 * accuracy:.1f} % ({other})"
    if int8.not_trained:
        words += f"; {int8.not_trained}"
    if int8.within:
        return [f"{name}: {words}."]
    tried = ", ".join(int8.tried)
    return [f"! {name}: {words}, more apart than the {100 * int8.allowed_drop:.1f} points allowed; tried: {tried}."]


def _difference(which: str, pairs: list[tuple[Predicted, Figures]], costs: list[str]) -> list[str]:
    """One sentence on all ``pairs`` of predicted and measured figures; nothing where no figure has both."""
    parts = []
    both = [(predicted.accuracy, measured.accuracy) for predicted, measured in pairs]
    if accuracy := mean_and_largest(_known(both), relative=False):
        parts.append(f"accuracy {100 * accuracy[0]:.2f} points on average, {100 * accuracy[1]:.2f} at most")
    for cost in costs:
        both = [(predicted.cost(cost), measured.cost(cost)) for predicted, measured in pairs]
        if error := mean_and_largest(_known(both), relative=True):
            parts.append(f"{cost} {error[0]:.1%} on average, {error[1]:.1%} at most")
    return [f"Difference between predicted and measured, {which}: {'; '.join(parts)}."] if parts else []


def _known(pairs: list[tuple[float | None, float | None]]) -> list[tuple[float, float]]:
    return [pair for pair in pairs if None not in pair]


def _fraction(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"
