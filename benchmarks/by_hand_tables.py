"""The page of results and the plot of ``benchmarks/by_hand.py``.

    python benchmarks/by_hand_tables.py RESULTS --machine "one H100, torch 2.11" \\
        --svg benchmarks/results/by_hand.svg > benchmarks/results/by_hand.md

Shown is the mean over seeds of test accuracy in percent, with the lowest and highest seed in brackets.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

from by_hand_jobs import LIMITS, SPACE, Row, read_rows
from svg_plot import Panel, write_svg

PAGE = """# Five networks of one supernet, and networks picked by hand

```
python benchmarks/by_hand.py RESULTS --cifar10 FOLDER --fashion_mnist FOLDER --epochs {epochs}
```

{machine}. The whole training set but 5,000 images for validation; a space of MobileNetV3's blocks at 24, 28 and 32
pixels, {size:,} networks of 4.5 to 71.1 million multiply-accumulates. `benchmarks/by_hand.py` says what
each row got; hand-made networks had a fifth of the supernet's whole compute each. Test accuracy in percent: the mean
over seeds, and the lowest and highest seed.

![Test accuracy over multiply-accumulates](by_hand.svg)
"""
TITLES = {"cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST"}
LINES: dict[str, Callable[[Row], bool]] = {
    "supernet, fine-tuned": lambda row: row.stage == "finetuned",
    "supernet, as searched": lambda row: row.stage == "searched",
    "the same alone": lambda row: row.job["way"] == "alone",
    "MobileNetV2": lambda row: row.network.startswith("MobileNetV2"),
    "MobileNetV3-Small": lambda row: row.network.startswith("MobileNetV3"),
    "ResNet": lambda row: row.network.startswith("ResNet"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="RESULTS")
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--machine", required=True, help="what it ran on, the first words of a sentence")
    options = parser.parse_args()
    rows, panels = read_rows(options.out), []
    epochs = max(row.job["epochs"] for row in rows)
    print(PAGE.format(machine=options.machine, epochs=epochs, size=SPACE.size))
    for data in dict.fromkeys(row.job["data"] for row in rows):
        of_data = [row for row in rows if row.job["data"] == data and row.job["epochs"] == epochs]
        print(f"## {TITLES[data]}\n\n{supernet_table(of_data)}\n\n{hand_table(of_data)}\n")
        lines = {name: line(list(filter(wanted, of_data))) for name, wanted in LINES.items()}
        panels.append(Panel(TITLES[data], {name: points for name, points in lines.items() if points}))
    if options.svg:
        write_svg(options.svg, panels, x="million MACs", y="test accuracy, %")


def supernet_table(rows: Sequence[Row]) -> str:
    head = ["limit, million MACs", "found", "as searched", "fine-tuned", "the same alone", "best by hand inside"]
    lines = [head, ["---"] * len(head)]
    for limit in LIMITS:
        of_limit = [row for row in rows if row.network == f"{limit:g}"]
        found = [row.macs / 1e6 for row in of_limit if row.stage == "searched"]
        if not found:
            continue
        stages = [[row for row in of_limit if row.stage == stage] for stage in ("searched", "finetuned", "trained")]
        cells = [over_seeds(each) for each in stages]
        lines.append([f"{limit / 1e6:g}", f"{mean(found):.1f}", *cells, best_by_hand(rows, limit)])
    return table(lines)


def best_by_hand(rows: Sequence[Row], limit: float) -> str:
    """Of the hand-made networks within 3 % of a limit that with the highest mean test accuracy, which flatters it."""
    inside = [row for row in rows if row.job["way"] == "hand" and row.macs <= 1.03 * limit]
    groups = [[row for row in inside if row.network == name] for name in dict.fromkeys(row.network for row in inside)]
    if not groups:
        return "none so small"
    best = max(groups, key=lambda group: mean(row.test for row in group))
    return f"{over_seeds(best)}, {best[0].network}"


def hand_table(rows: Sequence[Row]) -> str:
    lines = [["made by hand", "million MACs", "test accuracy", "seeds"], ["---"] * 4]
    by_hand = [row for row in rows if row.job["way"] == "hand"]
    for name in dict.fromkeys(row.network for row in by_hand):
        group = [row for row in by_hand if row.network == name]
        lines.append([name, f"{group[0].macs / 1e6:.1f}", over_seeds(group), str(len(group))])
    return table(lines)


def over_seeds(rows: Sequence[Row]) -> str:
    values = [100 * row.test for row in rows]
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else ""
    return f"{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def line(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """(million MACs, test accuracy) of each network, means over seeds."""
    groups = [[row for row in rows if row.network == name] for name in dict.fromkeys(row.network for row in rows)]
    points = [(mean(row.macs for row in group) / 1e6, 100 * mean(row.test for row in group)) for group in groups]
    return sorted((round(macs, 1), accuracy) for macs, accuracy in points)


def table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
