"""Many small charts in one figure: the probabilities of each gene's options over the epochs of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ofa.report.charts import COLOURS
from ofa.report.escape import html as escape

_COLUMNS, _WIDTH, _HEIGHT, _GAP, _TITLE = 8, 110, 62, 14, 16  # of a panel, in pixels of the drawing


class Panel(NamedTuple):
    """One small chart: ``lines`` has for each name of ``names`` its values between 0 and 1, one an epoch."""

    title: str
    names: Sequence[str]
    lines: Sequence[Sequence[float]]


def small_multiples(title: str, panels: Sequence[Panel], *, x: str) -> str:
    """A ``<figure>`` of panels side by side, each from 0 to 1; empty text without any.

    A line says what it is when it is pointed at, and below its title a panel says which line ends highest. ``x`` is
    what runs from left to right.
    """
    if not panels:
        return ""
    rows = -(-len(panels) // _COLUMNS)
    width = min(len(panels), _COLUMNS) * (_WIDTH + _GAP) + _GAP
    height = rows * (_HEIGHT + 2 * _TITLE + _GAP) + _GAP
    drawn = []
    for number, panel in enumerate(panels):
        row, column = divmod(number, _COLUMNS)
        left = _GAP + column * (_WIDTH + _GAP)
        top = _GAP + row * (_HEIGHT + 2 * _TITLE + _GAP)
        drawn.append(f'<g transform="translate({left} {top})">{"".join(_panel(panel))}</g>')
    return (
        f'<figure class="multiples"><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(title)}">{"".join(drawn)}</svg>'
        f'<ul class="legend"><li>{escape(x)}; from 0 to 1</li></ul></figure>'
    )


def _panel(panel: Panel) -> list[str]:
    best = max(range(len(panel.names)), key=lambda option: panel.lines[option][-1])
    ends = f"{panel.names[best]}: {panel.lines[best][-1]:.2f}"
    bottom = 2 * _TITLE + _HEIGHT
    parts = [
        f'<text class="name" y="{_TITLE - 4}">{escape(panel.title)}</text>',
        f'<text y="{2 * _TITLE - 4}">{escape(ends)}</text>',
        f'<path class="axis" d="M0 {2 * _TITLE}V{bottom}H{_WIDTH}"/>',
    ]
    for option, (name, values) in enumerate(zip(panel.names, panel.lines, strict=True)):
        said = f"<title>{escape(f'{panel.title} {name}: {values[-1]:.2f} at the end')}</title>"
        parts.append(f'<g class="c{option % COLOURS}"><path class="line" d="{_path(values, bottom)}">{said}</path></g>')
    return parts


def _path(values: Sequence[float], bottom: float) -> str:
    """One value is drawn as a level line."""
    values = [*values, *values] if len(values) == 1 else values
    across = _WIDTH / (len(values) - 1)
    points = (
        f"{step * across:.1f} {bottom - _HEIGHT * min(max(value, 0.0), 1.0):.1f}" for step, value in enumerate(values)
    )
    return "M" + "L".join(points)
