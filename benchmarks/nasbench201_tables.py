"""The tables of ``nasbench201_search.py`` in markdown.

python benchmarks/nasbench201_tables.py DATA OUT
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nasbench201_search import BASELINES, COLUMNS, METHODS, TABLE, read_truth

_GAP = ("relaxed", "inherited", "calibrated", "finetuned")
Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    truth = read_truth(arguments.data / "nas" / TABLE)
    rows = [json.loads(line) for line in (arguments.out / "rows.jsonl").read_text().splitlines()]
    names = [name for name in (*BASELINES, *METHODS) if any(row["method"] == name for row in rows)]
    by_name = {name: [row for row in rows if row["method"] == name] for name in names}
    for line in (*found(truth, by_name), "", *gaps(by_name), "", *against_random(truth, by_name)):
        print(line)


def found(truth: dict[str, dict[str, float]], by_name: dict[str, Rows]) -> list[str]:
    """True accuracy of what was found: mean and standard deviation over seeds."""
    lines = [
        "| method | seeds | CIFAR-10 | CIFAR-100 | ImageNet16-120 | rank of 15,625 | CPU s a search |",
        "|---|---|---|---|---|---|---|",
    ]
    best = {name: max(row[name] for row in truth.values()) for name in COLUMNS}
    lines.append(f"| best of the table | | {' | '.join(f'{value:.2f}' for value in best.values())} | 1 | |")
    every = {name: [row[name] for row in truth.values()] for name in COLUMNS}
    lines.append(f"| mean of all networks | | {' | '.join(map(_spread, every.values()))} | | |")
    median = " | ".join(f"{np.median(values):.2f}" for values in every.values())
    lines.append(f"| median of all networks | | {median} | 7,813 | |")
    for name, rows in sorted(by_name.items(), key=lambda item: -_mean(item[1], "cifar10")):
        accuracy = " | ".join(_spread([row[column] for row in rows]) for column in COLUMNS)
        ranks = " ".join(f"{row['rank']:,}" for row in sorted(rows, key=lambda row: row["seed"]))
        seconds = f"{_mean(rows, 'cpu_seconds'):.0f}"
        lines.append(f"| {name} | {len(rows)} | {accuracy} | {ranks} | {seconds} |")
    return lines


def gaps(by_name: dict[str, Rows]) -> list[str]:
    """Accuracy on the architecture's half of the images: of the relaxed network, and of what was derived."""
    lines = [
        "| method | relaxed | inherited | calibrated | fine-tuned | entropy | skips |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in by_name.items():
        if "gap" in rows[0]:
            values = " | ".join(f"{np.mean([row['gap'][key] for row in rows]):.1f}" for key in _GAP)
            skips = np.mean([row["arch"].count("skip_connect") for row in rows])
            lines.append(f"| {name} | {values} | {_mean(rows, 'entropy'):.3f} | {skips:.1f} of 6 |")
    return lines


def against_random(truth: dict[str, dict[str, float]], by_name: dict[str, Rows]) -> list[str]:
    """Who is better than which baseline, by mean accuracy on CIFAR-10, and in how many seeds."""
    means = {name: _mean(by_name[name], "cifar10") for name in BASELINES if name in by_name}
    every = [row["cifar10"] for row in truth.values()]
    means |= {"the mean of all networks": float(np.mean(every)), "their median": float(np.median(every))}
    lines = []
    for baseline, mean in means.items():
        better = [
            f"{name} ({sum(row['cifar10'] > mean for row in rows)} of {len(rows)})"
            for name, rows in by_name.items()
            if name in METHODS and _mean(rows, "cifar10") > mean
        ]
        lines.append(f"- Better than {baseline} ({mean:.2f}): {', '.join(better) or 'none'}.")
    return lines


def _mean(rows: Rows, key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


if __name__ == "__main__":
    main()
