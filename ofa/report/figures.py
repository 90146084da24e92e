"""Which charts a report has, and what is on them; a chart without data is left out."""

from __future__ import annotations

from ofa.pipeline.artefacts.cost_info import CostInfo
from ofa.pipeline.artefacts.report import Report, TargetReport
from ofa.pipeline.artefacts.search import Candidate
from ofa.report.charts import Band, Point, Series, chart
from ofa.report.tables import cost_tables, phases, watched_networks
from ofa.report.units import Axis, axis, origin

# Numbers of the style sheet's colours.
_FRONT, _CANDIDATES, _CHOSEN, _OTHER = 0, 1, 2, 5
_ACCURACY = Axis("accuracy", "%", 100, "accuracy (%)")

Pair = tuple[float, float]  # predicted, measured


def fronts(report: Report) -> list[str]:
    """A chart for each limit of each target: accuracy against what is limited."""
    return [
        _front(name, target, cost, joined=index == 0)
        for name, target in report.targets.items()
        for index, cost in enumerate(target.limits)
    ]


def predictors(report: Report) -> list[str]:
    """Predicted against measured: accuracy, and the cost of each cost table."""
    held_out = report.predictor.held_out
    unseen = Series(
        "held-out subnets, with one standard deviation",
        [(100 * measured, 100 * predicted) for predicted, _, measured in held_out],
        _FRONT,
        spread=[100 * std for _, std, _ in held_out],
        labels=[_tooltip("", (predicted, measured), _ACCURACY) for predicted, _, measured in held_out],
    )
    chosen = {
        name: (target.predicted.accuracy, target.accuracy_as_predicted) for name, target in report.targets.items()
    }
    candidates = {
        f"{name} {candidate.id}": (candidate.predicted.accuracy, candidate.measured.accuracy)
        for name, target in report.targets.items()
        for candidate in target.candidates
        if not candidate.chosen and None not in (candidate.predicted.accuracy, candidate.measured.accuracy)
    }
    figures = [_against("Accuracy", unseen, candidates, chosen, _ACCURACY)]
    tables = cost_tables(report)
    for names, table in tables:
        which = f" ({', '.join(names)})" if len(tables) > 1 else ""
        figures.append(_table_quality(table, {name: report.targets[name] for name in names}, which))
    return [figure for figure in figures if figure]


def history(report: Report) -> str:
    """The best predicted accuracy after each generation, a line a target."""
    series = [
        Series(
            name,
            [(row.generation, 100 * row.accuracy) for row in target.history],
            index,
            "dot",
            line=True,
            labels=[f"{name}: {row.evaluated} subnets evaluated" for row in target.history],
        )
        for index, (name, target) in enumerate(report.targets.items())
    ]
    return chart(
        "Best found after each generation", series, x="generation", y="best predicted accuracy (%)", whole_x=True
    )


def training(report: Report) -> list[str]:
    """Loss, accuracy and learning rate after each epoch, with the phases as bands."""
    bands, start = [], 0.5
    for epochs in phases(report):
        bands.append(Band(epochs[0].phase, start, start + len(epochs)))
        start += len(epochs)

    rows = list(enumerate(report.training, 1))
    watched = [
        Series(
            name,
            [(number, 100 * row.accuracies[name]) for number, row in rows if row.accuracies.get(name) is not None],
            index,
            line=True,
        )
        for index, name in enumerate(watched_networks(report))
    ]
    losses = Series("", [(number, row.loss) for number, row in rows], _FRONT, line=True)
    rates = Series("", [(number, row.lr) for number, row in rows], _OTHER, line=True)
    figures = [
        chart(title, series, x="epoch", y=y, bands=bands, whole_x=True)
        for title, y, series in (
            ("Training loss", "loss", [losses]),
            ("Accuracy while training", "validation accuracy (%)", watched),
            ("Learning rate", "learning rate", [rates]),
        )
    ]
    return [figure for figure in figures if figure]


def _front(name: str, target: TargetReport, cost: str, *, joined: bool) -> str:
    """``joined``: the front is one over this cost, so that a line joins its points."""
    limit = target.limits[cost]
    shown = axis(cost, limit)
    series = [_predicted_front(target, cost, shown, line=joined)]
    pairs: list[tuple[Point, Point]] = []

    # Each candidate twice, as predicted and as measured, and a thin line between the two.
    others = [one for one in target.candidates if not one.chosen and cost in one.predicted.costs]
    guesses = [_point(one.predicted.costs[cost], one.predicted.accuracy, shown) for one in others]
    scored = [(guess, one) for guess, one in zip(guesses, others, strict=True) if one.measured.accuracy is not None]
    # What is counted (MACs, parameters) needs no measurement.
    results = [
        _point(one.measured.costs.get(cost, one.predicted.costs[cost]), one.measured.accuracy, shown)
        for _, one in scored
    ]
    labels = [f"{one.id}, predicted" for one in others], [f"{one.id}, measured" for _, one in scored]
    series += [
        Series("candidates, predicted", guesses, _CANDIDATES, "ring", labels=labels[0]),
        Series("candidates, measured", results, _CANDIDATES, "square", labels=labels[1]),
    ]
    pairs += [(guess, result) for (guess, _), result in zip(scored, results, strict=True)]

    # The chosen one in the same way, by its model file.
    if (predicted := target.predicted.cost(cost)) is not None:
        guess = _point(predicted, target.predicted.accuracy, shown)
        result = _point(target.measured.costs.get(cost, predicted), target.measured.validation_accuracy, shown)
        labels = [f"{target.id}, predicted"], [f"{target.id}, measured"]
        series += [
            Series("chosen, predicted", [guess], _CHOSEN, "ring", large=True, labels=labels[0]),
            Series("chosen, measured", [result], _CHOSEN, "square", large=True, labels=labels[1]),
        ]
        pairs.append((guess, result))

    return chart(
        f"{name}: accuracy against {shown.cost}",
        series,
        x=shown.text,
        y="validation accuracy (%)",
        joined=pairs,
        limit=(shown.factor * limit, f"limit {shown.factor * limit:.3g} {shown.unit}".rstrip()),
    )


def _predicted_front(target: TargetReport, cost: str, shown: Axis, *, line: bool) -> Series:
    front = [point for point in target.front if cost in point.costs]
    return Series(
        "front, predicted",
        [_point(point.costs[cost], point.accuracy, shown) for point in front],
        _FRONT,
        line=line,
        labels=[
            f"predicted: {100 * point.accuracy:.1f} %, {shown.factor * point.costs[cost]:.3g} {shown.unit}"
            for point in front
        ],
    )


def _point(cost: float, accuracy: float, shown: Axis) -> Point:
    return shown.factor * cost, 100 * accuracy


def _table_quality(table: CostInfo, targets: dict[str, TargetReport], which: str) -> str:
    """Costs of a table against measurements: of whole subnets it was not fitted to, of candidates, of the chosen."""
    pairs, cost = table.quality.pairs if table.quality else (), table.cost

    def both(network: TargetReport | Candidate) -> Pair:
        return network.predicted.costs[cost], network.measured.costs[cost]

    def is_compared(network: TargetReport | Candidate) -> bool:
        return cost in network.predicted.costs and cost in network.measured.costs

    chosen = {name: both(target) for name, target in targets.items() if is_compared(target)}
    candidates = {
        f"{name} {candidate.id}": both(candidate)
        for name, target in targets.items()
        for candidate in target.candidates
        if not candidate.chosen and is_compared(candidate)
    }
    shown = axis(cost, max((value for pair in (*pairs, *chosen.values()) for value in pair), default=0.0))
    unseen = Series(
        "unseen subnets",
        [(shown.factor * measured, shown.factor * predicted) for predicted, measured in pairs],
        _FRONT,
        labels=[_tooltip("", pair, shown) for pair in pairs],
    )
    return _against(f"{cost.capitalize()}: {origin(table)}{which}", unseen, candidates, chosen, shown)


def _against(title: str, unseen: Series, candidates: dict[str, Pair], chosen: dict[str, Pair], shown: Axis) -> str:
    """Predicted over measured, of subnets that nothing was fitted to, of the candidates and of the ``chosen``."""

    def series(name: str, pairs: dict[str, Pair], colour: int, *, large: bool) -> Series:
        points = [(shown.factor * measured, shown.factor * predicted) for predicted, measured in pairs.values()]
        labels = [_tooltip(f"{which}: ", pair, shown) for which, pair in pairs.items()]
        return Series(name, points, colour, "square", large=large, labels=labels)

    return chart(
        title,
        [
            unseen,
            series("candidates", candidates, _CANDIDATES, large=False),
            series("chosen subnets", chosen, _CHOSEN, large=True),
        ],
        x=f"measured {shown.text}",
        y=f"predicted {shown.text}",
        diagonal="predicted as measured",
    )


def _tooltip(which: str, pair: Pair, shown: Axis) -> str:
    predicted, measured = (f"{shown.factor * value:.3g} {shown.unit}" for value in pair)
    return f"{which}predicted {predicted}, measured {measured}"
