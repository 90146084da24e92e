"""README's figure and table, of a finished run: ``python benchmarks/readme_run.py runs/quickstart``.

It writes ``docs/quickstart.svg`` and replaces what stands between README's markers. Grey are the subnets that the run
measured to teach the accuracy predictor, coloured the networks that it chose; all latencies are of the run's machine.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import ofa
from ofa.pipeline.subnet_csv import read
from ofa.report.charts import ticks

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 700, 330, 60, 20, 20, 48
LEGEND = HEIGHT - BOTTOM - 60  # its height
COLOURS = ["#1f5fbf", "#c8442b", "#2c8a4b", "#8a5fb5"]
MARKERS = ("<!-- table: python benchmarks/readme_run.py runs/quickstart -->", "<!-- end of table -->")


class Chosen(NamedTuple):
    """A target's network, with what the run measured of it."""

    name: str
    values: dict[str, Any]

    @property
    def limit(self) -> str:
        """Its first limit, in words."""
        cost, value = next(iter(self.values["limits"].items()))
        return f"{value:.3f} ms" if cost == "latency" else f"{value / 1e3:.0f} k {cost.replace('mac', 'MAC')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run
    run, report = ofa.open_run(folder), json.loads((folder / "report.json").read_text())
    chosen = [Chosen(name, target) for name, target in report["targets"].items()]

    codes, accuracies = read(folder / "accuracy.csv", run.space)
    latencies = run.cost_table(chosen[0].name, "latency").predict(codes)
    points = [(float(x), 100 * float(y)) for x, y in zip(latencies, accuracies, strict=True)]
    (ROOT / "docs" / "quickstart.svg").write_text(figure(points, chosen))

    readme = ROOT / "README.md"
    start, end = map(re.escape, MARKERS)
    new = "\n".join([MARKERS[0], *table(chosen), MARKERS[1]])
    text, count = re.subn(f"{start}.*?{end}", lambda _: new, readme.read_text(), flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"README.md has {count} tables between {MARKERS[0]} and {MARKERS[1]}; there must be one")
    readme.write_text(text)
    print("\n".join(table(chosen)))


def table(chosen: list[Chosen]) -> list[str]:
    """Markdown, at most 100 columns."""
    lines = [
        "| device | limit | its network | MACs | predicted / measured | test accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for one in chosen:
        subnet, predicted, measured = (one.values[key] for key in ("subnet", "predicted", "measured"))
        blocks = "-".join(map(str, subnet["depths"]))
        low, high = (100 * value for value in measured["test_interval"])
        lines.append(
            f"| {one.name} | {one.limit} | {subnet['resolution']} px, {blocks} blocks "
            f"| {predicted['macs'] / 1e3:.0f} k | {predicted['latency']:.3f} / {measured['latency']:.3f} ms "
            f"| {100 * measured['test_accuracy']:.1f} % ({low:.1f}-{high:.1f}) |"
        )
    return lines


def figure(points: list[tuple[float, float]], chosen: list[Chosen]) -> str:
    """Validation accuracy over latency, as SVG."""
    found = [(one.values["measured"]["latency"], 100 * one.values["measured"]["validation_accuracy"]) for one in chosen]
    limits = [one.values["limits"].get("latency") for one in chosen]
    xs = [x for x, _ in [*points, *found]] + [limit for limit in limits if limit]
    ys = [y for _, y in [*points, *found]]
    x_low, x_high, y_low, y_high = 0.0, 1.04 * max(xs), min(ys) - 0.5, 100.0

    def across(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="13" role="img" aria-label="validation accuracy over latency">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    # Axes: light lines at round values, and what they are.
    for value, text in ticks(x_low, x_high, most=9):
        x = across(value)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>')
    for value, text in ticks(y_low, y_high, most=7):
        y = up(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    parts.append(f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">latency (ms), one image</text>')
    parts.append(
        f'<text transform="translate(16 {HEIGHT / 2 - 10:.0f}) rotate(-90)" text-anchor="middle">'
        "validation accuracy (%)</text>"
    )
    # All subnets come from one supernet; each device's limit is a dashed line, its network a large point.
    parts += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="#b5b5b5"/>' for x, y in points]
    for number, (one, limit, (x, y)) in enumerate(zip(chosen, limits, found, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        if limit:
            parts.append(
                f'<path d="M{across(limit):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{colour}" stroke-width="1.5" '
                'stroke-dasharray="5 4"/>'
            )
        parts.append(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="7" fill="{colour}" stroke="white"/>')
        side = 0.43 * WIDTH + 80 * number
        parts.append(f'<circle cx="{side:.0f}" cy="{LEGEND}" r="7" fill="{colour}"/>')
        parts.append(f'<text x="{side + 12:.0f}" y="{LEGEND + 5}">{one.name}</text>')
    for row, text in enumerate(("grey: measured subnets", "dashed: a limit of latency"), 1):
        parts.append(f'<text x="{0.43 * WIDTH - 7:.0f}" y="{LEGEND + 5 + 20 * row}" fill="#555">{text}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
