"""Which charts a report has, and what is on them. Each takes what ``report.json`` holds; without data it is empty."""

from __future__ import annotations

from typing import Any

from ofa.report.charts import Band, Point, Series, chart
from ofa.report.tables import as_predicted, cost_tables, phases, watched_networks
from ofa.report.units import axis, origin

_FRONT, _CANDIDATES, _CHOSEN, _OTHER = 0, 1, 2, 5


def fronts(values: dict[str, Any]) -> list[str]:
    """A chart for each limit of each target: accuracy against what is limited."""
    return [
        _front(name, target, cost, along=number == 0)
        for name, target in values["targets"].items()
        for number, cost in enumerate(target["limits"])
    ]


def predictors(values: dict[str, Any]) -> list[str]:
    """Predicted against measured: accuracy, and latency for each latency table."""
    held_out = values["predictor"].get("held_out") or ()
    unseen = Series(
        "held-out subnets, with one standard deviation",
        [(100 * measured, 100 * predicted) for predicted, _, measured in held_out],
        _FRONT,
        spread=[100 * std for _, std, _ in held_out],
        labels=[_told("", predicted, measured, 100, "%") for predicted, _, measured in held_out],
    )
    chosen = {
        name: (target["predicted"]["accuracy"], as_predicted(target)) for name, target in values["targets"].items()
    }
    figures = [_against("Accuracy", unseen, values["targets"], chosen, "accuracy", 100, "%", "accuracy (%)")]
    tables = cost_tables(values)
    for names, table in tables:
        which = f" ({', '.join(names)})" if len(tables) > 1 else ""
        figures.append(_table_quality(table, {name: values["targets"][name] for name in names}, which))
    return [figure for figure in figures if figure]


def _table_quality(table: dict[str, Any], targets: dict[str, dict[str, Any]], which: str) -> str:
    pairs, cost = table.get("quality", {}).get("pairs") or (), table.get("cost", "latency")
    chosen = {
        name: (target["predicted"][cost], target["measured"][cost])
        for name, target in targets.items()
        if cost in target["predicted"] and cost in target["measured"]
    }
    shown = axis(cost, max((value for pair in (*pairs, *chosen.values()) for value in pair), default=0.0))
    unseen = Series(
        "unseen subnets",
        [(shown.factor * measured, shown.factor * predicted) for predicted, measured in pairs],
        _FRONT,
        labels=[_told("", predicted, measured, shown.factor, shown.unit) for predicted, measured in pairs],
    )
    name = cost.capitalize()
    title = f"{name}: {origin(table)}{which}"
    return _against(title, unseen, targets, chosen, cost, shown.factor, shown.unit, shown.text)


def history(values: dict[str, Any]) -> str:
    """The best predicted accuracy after each generation, a line a target."""
    series = [
        Series(
            name,
            [(row["generation"], 100 * row["accuracy"]) for row in target.get("history") or ()],
            number,
            "dot",
            line=True,
            labels=[f"{name}: {row['evaluated']} subnets evaluated" for row in target.get("history") or ()],
        )
        for number, (name, target) in enumerate(values["targets"].items())
    ]
    return chart(
        "Best found after each generation", series, x="generation", y="best predicted accuracy (%)", whole_x=True
    )


def training(values: dict[str, Any]) -> list[str]:
    """Loss, accuracy and learning rate after each epoch, with the phases as bands."""
    rows = values.get("training") or []
    bands, start = [], 0.5
    for epochs in phases(values):
        bands.append(Band(epochs[0]["phase"], start, start + len(epochs)))
        start += len(epochs)

    def points(key: str, scale: float = 1) -> list[Point]:
        return [(number, scale * row[key]) for number, row in enumerate(rows, 1) if row.get(key) is not None]

    watched = [
        Series(name, points(f"accuracy_{name}", 100), number, line=True)
        for number, name in enumerate(watched_networks(values))
    ]
    figures = [
        chart(title, series, x="epoch", y=y, bands=bands, whole_x=True)
        for title, y, series in (
            ("Training loss", "loss", [Series("", points("loss"), _FRONT, line=True)]),
            ("Accuracy while training", "validation accuracy (%)", watched),
            ("Learning rate", "learning rate", [Series("", points("lr"), _OTHER, line=True)]),
        )
    ]
    return [figure for figure in figures if figure]


def _front(name: str, target: dict[str, Any], cost: str, *, along: bool) -> str:
    """``along``: the front is one over this cost, so that a line joins it."""
    limit, predicted, measured = target["limits"][cost], target["predicted"], target["measured"]
    front = [point for point in target.get("front") or () if cost in point["costs"]]
    candidates = [one for one in target.get("candidates") or () if not one.get("chosen") and cost in one["predicted"]]
    shown = axis(cost, limit)
    unit, scale = shown.unit, shown.factor

    def at(value: float, accuracy: float) -> Point:
        return scale * value, 100 * accuracy

    def told(which: str, value: float, accuracy: float) -> str:
        return f"{which}: {100 * accuracy:.1f} %, {scale * value:.3g} {unit}"

    def measured_at(one: dict[str, Any]) -> Point:
        # What is counted (MACs, parameters) needs no measurement.
        return at(one["measured"].get(cost, one["predicted"][cost]), one["measured"]["accuracy"])

    guesses = [at(one["predicted"][cost], one["predicted"]["accuracy"]) for one in candidates]
    scored = [number for number, one in enumerate(candidates) if "accuracy" in one["measured"]]
    found = [measured_at(candidates[number]) for number in scored]
    series = [
        Series(
            "front, predicted",
            [at(point["costs"][cost], point["accuracy"]) for point in front],
            _FRONT,
            line=along,
            labels=[told("predicted", point["costs"][cost], point["accuracy"]) for point in front],
        ),
        Series(
            "candidates, predicted",
            guesses,
            _CANDIDATES,
            "ring",
            labels=[f"{one['id']}, predicted" for one in candidates],
        ),
        Series(
            "candidates, measured",
            found,
            _CANDIDATES,
            "square",
            labels=[f"{candidates[number]['id']}, measured" for number in scored],
        ),
    ]
    joined = list(zip([guesses[number] for number in scored], found, strict=True))
    if cost in predicted:
        guess = at(predicted[cost], predicted["accuracy"])
        result = at(measured.get(cost, predicted[cost]), measured["validation_accuracy"])
        joined.append((guess, result))
        series += [
            Series("chosen, predicted", [guess], _CHOSEN, "ring", large=True, labels=[f"{target['id']}, predicted"]),
            Series("chosen, measured", [result], _CHOSEN, "square", large=True, labels=[f"{target['id']}, measured"]),
        ]
    text = f"limit {scale * limit:.3g} {unit}".rstrip()
    return chart(
        f"{name}: accuracy against {shown.cost}",
        series,
        x=shown.text,
        y="validation accuracy (%)",
        joined=joined,
        limit=(scale * limit, text),
    )


def _against(
    title: str,
    unseen: Series,
    targets: dict[str, dict[str, Any]],
    chosen: dict[str, tuple[float, float]],
    key: str,
    scale: float,
    unit: str,
    words: str,
) -> str:
    """Predicted over measured, of subnets that nothing was fitted to, of the candidates and of the ``chosen``."""
    candidates = {
        f"{name} {one['id']}": (one["predicted"][key], one["measured"][key])
        for name, target in targets.items()
        for one in target.get("candidates") or ()
        if not one.get("chosen") and key in one["predicted"] and key in one["measured"]
    }

    def series(name: str, pairs: dict[str, tuple[float, float]], colour: int, *, large: bool) -> Series:
        points = [(scale * measured, scale * predicted) for predicted, measured in pairs.values()]
        labels = [_told(f"{which}: ", *pair, scale, unit) for which, pair in pairs.items()]
        return Series(name, points, colour, "square", large=large, labels=labels)

    return chart(
        title,
        [
            unseen,
            series("candidates", candidates, _CANDIDATES, large=False),
            series("chosen subnets", chosen, _CHOSEN, large=True),
        ],
        x=f"measured {words}",
        y=f"predicted {words}",
        diagonal="predicted as measured",
    )


def _told(which: str, predicted: float, measured: float, scale: float, unit: str) -> str:
    return f"{which}predicted {scale * predicted:.3g} {unit}, measured {scale * measured:.3g} {unit}"
