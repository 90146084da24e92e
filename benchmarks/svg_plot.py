"""Lines with markers as a small SVG, for benchmark results: no plotting package is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_COLOURS = ["#1f5fbf", "#c8442b", "#2c8a4b", "#8a5fb5", "#7a7a7a"]
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 300, 260, 46, 30, 44, 18


class Panel(NamedTuple):
    """One plot: ``lines`` by name, each a list of (x, y); the x axis is logarithmic."""

    title: str
    lines: dict[str, list[tuple[float, float]]]


def write_svg(path: Path, panels: Sequence[Panel], *, x: str, y: str) -> None:
    """Writes panels side by side, each with its own scale, and one legend below."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    width, height = len(panels) * (_WIDTH + _GAP), _HEIGHT + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, names, number * (_WIDTH + _GAP), x, y)
    for number, name in enumerate(names):
        left = _LEFT + 130 * number
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<path d="M{left} {height - 14}h18" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + 24}" y="{height - 10}">{name}</text>')
    path.write_text("\n".join([*parts, "</svg>", ""]))


def _panel(panel: Panel, names: list[str], left: float, x: str, y: str) -> list[str]:
    points = [point for line in panel.lines.values() for point in line]
    xs, ys = zip(*points, strict=True)
    step = 10 ** math.floor(math.log10((max(ys) - min(ys)) or 1))
    low, high = math.floor(min(ys) / step) * step, math.ceil(max(ys) / step) * step
    right, bottom = left + _WIDTH, _HEIGHT - _BOTTOM

    def across(value: float) -> float:
        share = math.log(value / min(xs)) / (math.log(max(xs) / min(xs)) or 1)
        return left + _LEFT + 8 + share * (_WIDTH - _LEFT - 16)

    def up(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - _TOP)

    parts = [
        f'<text x="{(left + _LEFT + right) / 2}" y="16" text-anchor="middle" font-weight="bold">{panel.title}</text>'
    ]
    for tick in range(6):
        value = low + (high - low) * tick / 5
        parts.append(f'<path d="M{left + _LEFT} {up(value):.1f}H{right}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{left + _LEFT - 4}" y="{up(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for value in _labelled(xs):
        parts.append(f'<text x="{across(value):.1f}" y="{bottom + 15}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{(left + _LEFT + right) / 2}" y="{bottom + 32}" text-anchor="middle">{x}; y: {y}</text>')
    for name, line in panel.lines.items():
        colour = _COLOURS[names.index(name) % len(_COLOURS)]
        corners = " ".join(f"{across(one):.1f},{up(other):.1f}" for one, other in line)
        parts.append(f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(a):.1f}" cy="{up(b):.1f}" r="3" fill="{colour}"/>' for a, b in line]
    return parts


def _labelled(xs: Sequence[float]) -> list[float]:
    """The values that get a label: all, or of many 1, 2, 5, 10, 20 and so on."""
    values = sorted(set(xs))
    if len(values) <= 8:
        return values
    decades = range(math.floor(math.log10(values[0])), math.ceil(math.log10(values[-1])) + 1)
    round_ones = [first * 10.0**decade for decade in decades for first in (1, 2, 5)]
    return [value for value in round_ones if values[0] <= value <= values[-1]]
