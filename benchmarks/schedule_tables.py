"""Markdown tables of the rows that ``schedule_trials.py`` wrote.

python benchmarks/schedule_tables.py RESULTS
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from schedule_jobs import Trial
from schedule_trials import Row, read_rows

# What makes trials comparable, in this order; everything else is the way of training.
_OF_THE_TASK = ("data", "images", "passes")
_WORDS = {
    "later_lr": "later lr x{:g}",
    "share": "first phase {:g} of compute",
    "subnets": "{} a step",
    "lr": "lr {:g}",
    "warmup": "warm-up {:g}",
    "ema": "EMA {:g}",
    "smoothing": "smoothing {:g}",
    "mixup": "mixup {:g}",
    "batch_size": "batch {}",
    "sampling": "{} sampling",
    "teacher": "teacher {}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="RESULTS")
    rows = read_rows(parser.parse_args().out)
    tasks: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        tasks[tuple(row.trial[key] for key in _OF_THE_TASK)].append(row)
    for task, own in tasks.items():
        print("\n".join(table(task, own)), end="\n\n")


def table(task: tuple, rows: Sequence[Row]) -> Iterator[str]:
    """The ways of training on one task, the best first."""
    data, images, passes = task
    ways: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        ways[way_of(row.trial)].append(row)
    best = max(_accuracy(own) for own in ways.values())
    yield f"### {data}, {images or 'all'} images, {passes:g} passes\n"
    yield "| way of training | 20 subnets | below the best | smallest | largest | steps | seeds |"
    yield "|---|---|---|---|---|---|---|"
    for way, own in sorted(ways.items(), key=lambda item: -_accuracy(item[1])):
        spread = f" ± {100 * stdev(mean(row.accuracies) for row in own):.1f}" if len(own) > 1 else ""
        ends = " | ".join(f"{100 * mean(row.accuracies[end] for row in own):.1f}" for end in (0, -1))
        accuracy = _accuracy(own)
        steps = " + ".join(name.split()[-1] for name in own[0].phases)
        yield f"| {way} | {accuracy:.1f}{spread} | {best - accuracy:.1f} | {ends} | {steps} | {len(own)} |"


def way_of(trial: dict[str, Any]) -> str:
    """In words; of a ``warm`` schedule always its subnets a step and learning rate."""
    usual = vars(Trial(data="", images=0, passes=0))
    shown = {"subnets", "lr"} if trial["schedule"] == "warm" else {"lr"}
    differing = [key for key, value in trial.items() if key in _WORDS and (value != usual[key] or key in shown)]
    name = "full, then all" if trial["schedule"] == "warm" else trial["schedule"]
    return ", ".join([name, *(_WORDS[key].format(trial[key]) for key in differing)])


def _accuracy(rows: Sequence[Row]) -> float:
    return 100 * mean(mean(row.accuracies) for row in rows)


if __name__ == "__main__":
    main()
