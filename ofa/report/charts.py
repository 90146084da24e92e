"""Charts as inline SVG: lines, points with error bars, bands and a limit. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ofa.report.escape import html as escape

COLOURS = 7  # classes c0 to c6 of the style sheet

_WIDTH, _HEIGHT, _TOP, _RIGHT, _BOTTOM = 380, 270, 22, 14, 46
_LETTER = 7.5  # width of a digit in the widest of usual fonts
_NEAR = 9  # closer than this, two numbers of bands would touch

Point = tuple[float, float]
Marker = Literal["none", "dot", "ring", "square"]


class Series(NamedTuple):
    """Points that belong together, under one name in the legend.

    Attributes:
        colour: number of a colour, taken modulo ``COLOURS``.
        line: joins the points in their order.
        large: markers twice as large, for what the eye should find first.
        spread: half the length of each point's vertical error bar; empty for none.
        area: from where to where the shade behind each point reaches; empty for none.
        labels: what each point says when it is pointed at; empty for nothing.
    """

    name: str
    points: Sequence[Point]
    colour: int
    marker: Marker = "dot"
    line: bool = False
    large: bool = False
    spread: Sequence[float] = ()
    labels: Sequence[str] = ()
    area: Sequence[tuple[float, float]] = ()


class Band(NamedTuple):
    """A stretch of the horizontal axis."""

    name: str
    start: float
    stop: float


class _Scale(NamedTuple):
    """Values ``low`` to ``high`` on pixels ``start`` to ``stop``."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def chart(
    title: str,
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    joined: Sequence[tuple[Point, Point]] = (),
    bands: Sequence[Band] = (),
    limit: tuple[float, str] | None = None,
    diagonal: str = "",
    whole_x: bool = False,
) -> str:
    """A ``<figure>`` with caption, chart and legend; empty text when there is no finite point.

    Args:
        x, y: what the axes show, with the unit.
        joined: pairs of points to join by thin lines.
        limit: a value of x that is marked by a dashed line, and its name.
        diagonal: when given, both axes have one range, and the line of equal values has this name.
        whole_x: ticks of x are whole numbers.
    """
    series = [kept for one in series if (kept := _finite(one)).points]
    if not series:
        return ""
    xs = [point[0] for one in series for point in one.points] + ([limit[0]] if limit else [])
    ys = [point[1] for one in series for point in one.points]
    ys += [
        point[1] + sign * half
        for one in series
        for point, half in zip(one.points, one.spread, strict=False)
        for sign in (-1, 1)
    ]
    ys += [end for one in series for ends in one.area for end in ends]
    xs += [edge for band in bands for edge in (band.start, band.stop)]
    if diagonal:
        xs = ys = [*xs, *ys]
    across, up = _padded(xs, 0.0 if bands else 0.05), _padded(ys, 0.06)
    y_ticks = ticks(*up, most=7)
    left = 26 + _LETTER * max(len(text) for _, text in y_ticks)
    across, up = _Scale(*across, left, _WIDTH - _RIGHT), _Scale(*up, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        *_bands(bands, across),
        *_axes(across, up, _ticks_that_fit(across, whole=whole_x), y_ticks, x=x, y=y),
    ]
    if diagonal:
        ends = [(value, value) for value in (across.low, across.high)]
        parts.append(f'<path class="guide" d="{_path(ends, across, up)}"/>')
    if limit:
        parts += _limit(*limit, across)
    parts += [f'<path class="join" d="{_path(pair, across, up)}"/>' for pair in joined if _all_finite(pair)]
    for one in series:
        parts += _series(one, across, up)
    guides = [("guide", diagonal)] if diagonal else []
    legend = _legend(series, [*guides, ("limit", limit[1])] if limit else guides, bands)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>{legend}</figure>'
    )


def ticks(low: float, high: float, *, most: int, whole: bool = False) -> list[tuple[float, str]]:
    """At most ``most`` round values from ``low`` to ``high``, each with its text; ``whole``: no fractions."""
    raw = (high - low) / (most - 1)
    size = 10.0 ** math.floor(math.log10(raw))
    factor = next(factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * (1 - 1e-9))
    step = max(math.ceil(size * factor), 1) if whole else size * factor
    decimals = 0 if whole else max(0, -math.floor(math.log10(step) + 1e-9) + (factor == 2.5))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(number * step, f"{number * step:.{decimals}f}") for number in range(first, last + 1)]


def _ticks_that_fit(across: _Scale, *, whole: bool) -> list[tuple[float, str]]:
    """As many ticks of the horizontal axis as stand beside each other with some room between."""
    fitting = []
    for most in range(10, 2, -1):
        fitting = ticks(across.low, across.high, most=most, whole=whole)
        longest = max((len(text) for _, text in fitting), default=0)
        apart = across(fitting[1][0]) - across(fitting[0][0]) if len(fitting) > 1 else math.inf
        if apart >= _LETTER * longest + 10:
            break
    return fitting


def _finite(series: Series) -> Series:
    rows = [row for row, point in enumerate(series.points) if _all_finite([point])]
    return series._replace(
        **{
            name: [getattr(series, name)[row] for row in rows]
            for name in ("points", "spread", "labels", "area")
            if getattr(series, name)
        }
    )


def _all_finite(points: Sequence[Point]) -> bool:
    return all(math.isfinite(value) for point in points for value in point)


def _padded(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = 0.05 * abs(low) or 1.0
        return low - room, high + room
    return low - margin * (high - low), high + margin * (high - low)


def _axes(
    across: _Scale, up: _Scale, x_ticks: list[tuple[float, str]], y_ticks: list[tuple[float, str]], *, x: str, y: str
) -> list[str]:
    bottom, right = up.start, across.stop
    parts = []
    for value, text in y_ticks:
        parts.append(f'<path class="rule" d="M{across.start:.1f} {up(value):.1f}H{right}"/>')
        parts.append(f'<text x="{across.start - 5:.1f}" y="{up(value) + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in x_ticks:
        parts.append(f'<path class="axis" d="M{across(value):.1f} {bottom}v4"/>')
        parts.append(f'<text x="{across(value):.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
    parts.append(f'<path class="axis" d="M{across.start:.1f} {up.stop}V{bottom}H{right}"/>')
    middle = (up.start + up.stop) / 2
    parts.append(
        f'<text class="name" x="{(across.start + right) / 2:.1f}" y="{bottom + 36}" text-anchor="middle">'
        f"{escape(x)}</text>"
    )
    parts.append(
        f'<text class="name" transform="translate(13 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )
    return parts


def _bands(bands: Sequence[Band], across: _Scale) -> list[str]:
    parts, last = [], -math.inf
    for number, band in enumerate(bands):
        start, stop = across(band.start), across(band.stop)
        shade = "band" if number % 2 else "band even"
        parts.append(
            f'<rect class="{shade}" x="{start:.1f}" y="{_TOP}" width="{stop - start:.1f}" '
            f'height="{_HEIGHT - _TOP - _BOTTOM}"><title>{escape(band.name)}</title></rect>'
        )
        centre = (start + stop) / 2
        if centre - last >= _NEAR + _LETTER * (number >= 9):
            parts.append(f'<text x="{centre:.1f}" y="{_TOP - 7}" text-anchor="middle">{number + 1}</text>')
            last = centre
    return parts


def _limit(value: float, name: str, across: _Scale) -> list[str]:
    x = across(value)
    half = _LETTER * len(name) / 2  # the name stays inside the picture
    centre = min(max(x, half + 2), _WIDTH - half - 2)
    return [
        f'<path class="limit" d="M{x:.1f} {_TOP - 4}V{_HEIGHT - _BOTTOM}"/>',
        f'<text class="over" x="{centre:.1f}" y="{_TOP - 8}" text-anchor="middle">{escape(name)}</text>',
    ]


def _series(series: Series, across: _Scale, up: _Scale) -> list[str]:
    parts = [f'<g class="c{series.colour % COLOURS}">']
    if series.area:
        around = [(x, low) for (x, _), (low, _) in zip(series.points, series.area, strict=True)]
        around += [(x, high) for (x, _), (_, high) in zip(series.points, series.area, strict=True)][::-1]
        parts.append(f'<path class="shade" d="{_path(around, across, up)}Z"/>')
    if series.line and len(series.points) > 1:
        parts.append(f'<path class="line" d="{_path(series.points, across, up)}"/>')
    for number, (first, second) in enumerate(series.points):
        if series.spread:
            half = series.spread[number]
            low, high = up(second - half), up(second + half)
            parts.append(f'<path class="spread" d="M{across(first):.1f} {low:.1f}V{high:.1f}"/>')
        label = series.labels[number] if series.labels else ""
        parts.append(_mark(series.marker, across(first), up(second), large=series.large, label=label))
    return [*parts, "</g>"]


def _mark(marker: Marker, x: float, y: float, *, large: bool, label: str = "") -> str:
    inside = f"<title>{escape(label)}</title>" if label else ""
    if marker == "none":
        return ""
    if marker == "square":
        half = 5 if large else 3.2
        corner = f'x="{x - half:.1f}" y="{y - half:.1f}" width="{2 * half}" height="{2 * half}"'
        return f'<rect class="square" {corner}>{inside}</rect>'
    radius = {"dot": 2.6, "ring": 3.8}[marker] * (1.6 if large else 1)
    return f'<circle class="{marker}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">{inside}</circle>'


def _path(points: Sequence[Point], across: _Scale, up: _Scale) -> str:
    return "M" + "L".join(f"{across(first):.1f} {up(second):.1f}" for first, second in points)


def _legend(series: Sequence[Series], guides: Sequence[tuple[str, str]], bands: Sequence[Band]) -> str:
    items = []
    for one in series:
        line = '<path class="line" d="M1 8H23"/>' if one.line else ""
        mark = _mark(one.marker, 12, 8, large=one.large)
        items.append((f'<g class="c{one.colour % COLOURS}">{line}{mark}</g>', one.name))
    items += [(f'<path class="{kind}" d="M1 8H23"/>', name) for kind, name in guides]
    texts = [
        f'<li><svg viewBox="0 0 24 16" class="key" aria-hidden="true">{mark}</svg>{escape(name)}</li>'
        for mark, name in items
        if name
    ]
    texts += [f"<li>{number}: {escape(band.name)}</li>" for number, band in enumerate(bands, 1)]
    return f'<ul class="legend">{"".join(texts)}</ul>'
