"""The page of ``ofa benchmark``: a table of regrets, and a chart for each strategy beside random search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ofa.benchmarking.regret import Curve, marks
from ofa.report.charts import Series, chart
from ofa.report.page import grid, page, paragraphs, section, table_html
from ofa.report.tables import Cell, Table
from ofa.strategies.table import STRATEGIES

BASELINE = "random"
_POINTS = 60  # of a line
_TOGETHER = 6  # strategies in the first chart


def render(name: str, about: Sequence[str], found: Sequence[Curve]) -> str:
    """``report.html`` of the curves."""
    baseline = next((curve for curve in found if curve.strategy == BASELINE), None)
    together = [_series(curve, colour) for colour, curve in enumerate(found[:_TOGETHER])]
    apart = []
    for curve in found:
        lines = [_series(curve, 0, area=True)]
        if baseline and curve is not baseline:
            lines.append(_series(baseline, 5, area=True))
        apart.append(chart(curve.strategy, lines, x="queries", y="regret (points)", whole_x=True))
    note = (
        "Regret: points of accuracy below the best network, the mean over seeds, and lower is better. Bands and "
        "brackets are 95 % intervals of that mean, by bootstrap."
    )
    best = chart("The best of them", together, x="queries", y="regret (points)", whole_x=True)
    return page(
        name,
        about,
        [
            section("Regret", paragraphs([note]), table_html(regrets(found))),
            section("Curves", grid([best, *apart])),
        ],
    )


def regrets(found: Sequence[Curve]) -> Table:
    """One row a strategy: regret after some numbers of queries, seeds that found the best, seconds of a run."""
    shown = marks(len(found[0].mean))
    columns = (
        "strategy",
        *(f"{mark} queries" for mark in shown),
        f"best found\nof {shown[-1]} queries",
        "seconds\na run",
        "seeds",
        "what it is",
    )
    rows = []
    for curve in found:
        cells = [
            Cell(
                f"{curve.mean[mark - 1]:.3f} ({curve.low[mark - 1]:.3f}-{curve.high[mark - 1]:.3f})",
                float(curve.mean[mark - 1]),
            )
            for mark in shown
        ]
        share = float(curve.found[-1])
        rows.append(
            (
                Cell(curve.strategy),
                *cells,
                Cell(f"{share:.0%}", share),
                Cell(f"{curve.seconds:.3g}", curve.seconds),
                Cell(str(curve.seeds), curve.seeds),
                Cell(STRATEGIES[curve.strategy].help if curve.strategy in STRATEGIES else ""),
            )
        )
    return Table("Regret", columns, rows)


def _series(curve: Curve, colour: int, *, area: bool = False) -> Series:
    queries = len(curve.mean)
    # The first few queries are far above all others, and would press the rest flat.
    first = min(queries - 1, 9)
    rows = np.unique(np.linspace(first, queries - 1, _POINTS).round().astype(int))
    return Series(
        curve.strategy,
        [(float(row + 1), float(curve.mean[row])) for row in rows],
        colour,
        marker="none",
        line=True,
        area=[(float(curve.low[row]), float(curve.high[row])) for row in rows] if area else (),
    )
