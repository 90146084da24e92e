"""What fine-tuning a supernet's networks is worth: for how long, at which learning rate, with a teacher or without.

    ofa train RECIPE --out RUN --set seed=1      # and so on, for each data set and seed
    python benchmarks/finetuning.py measure ROWS.jsonl RUN ...
    python benchmarks/finetuning.py tables ROWS.jsonl

Of each run's supernet three networks are chosen as a search does: the most accurate on the validation images of eight
within 0.1, 0.3 and 0.9 of the largest network's multiply-accumulates. Each is fine-tuned in every way of the grid, and
scored on validation and test images before and after, with batch norm statistics as trained and calibrated again. Rows
are appended as they are measured, and the chosen networks kept beside them; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ofa.config.recipe_file import load_run_recipe
from ofa.config.schedule import training_phases, training_settings
from ofa.pipeline.job import Job
from ofa.supernet.space import Subnet
from ofa.supernet.training.finetune import finetune

SIZES = {"small": 0.1, "middle": 0.3, "large": 0.9}  # of the largest network's multiply-accumulates
PROPOSED = 8  # networks within a limit, of which the most accurate is chosen
SHOWN = (True, 0.1, 0.2)  # the way of the table by size


def grid() -> Iterator[tuple[bool, float, float]]:
    """With a teacher or not; shares of the supernet's epochs and of its highest learning rate."""
    yield from itertools.product([True], [0.1, 0.2], [0.2, 0.4, 0.8, 0.1, 0.05])
    yield from itertools.product([False], [0.1, 0.2], [0.2])
    yield from itertools.product([True], [0.4, 0.05], [0.1, 0.2])


def scores(job: Job, model: nn.Module, resolution: int) -> dict[str, float]:
    """Accuracy and cross-entropy on the validation and test images."""
    found = {}
    for split in ("validation", "test"):
        right, loss, count = 0, 0.0, 0
        with torch.no_grad():
            for images, labels in job.images(split, resolution):
                logits = model.eval()(images)
                right += int((logits.argmax(1) == labels).sum())
                loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
                count += len(labels)
        found |= {f"{split}_accuracy": right / count, f"{split}_loss": loss / count}
    return found


def chosen(job: Job) -> dict[str, Subnet]:
    """By size, the most accurate on the validation images of ``PROPOSED`` networks near the limit."""
    space, rng = job.recipe.space, np.random.default_rng([job.recipe.seed, 7])
    largest = job.macs.predict(space.encode(space.largest)[None])[0]
    best = {}
    for size, share in SIZES.items():
        codes = space.sample(20_000, rng)
        macs = job.macs.predict(codes) / largest
        proposed = [space.decode(code) for code in codes[(macs <= share) & (macs > 0.8 * share)][:PROPOSED]]
        found = [scores(job, job.extract_calibrated(subnet), subnet.resolution) for subnet in proposed]
        best[size] = proposed[int(np.argmax([each["validation_accuracy"] for each in found]))]
    return best


def measure(run: Path, rows: Path) -> None:
    job = Job(load_run_recipe(run), run)
    recipe, phases, size = job.recipe, training_phases(job.recipe), job.recipe.train.batch_size
    total, peak = sum(phase.epochs for phase in phases), max(phase.lr for phase in phases)
    teacher = job.extract_calibrated(recipe.space.largest)
    done = {key(row) for row in read_rows(rows)}
    kept = rows.with_name(f"{rows.stem}-{run.name}.json")
    if not kept.exists():
        kept.write_text(json.dumps({name: subnet.to_dict() for name, subnet in chosen(job).items()}))
    networks = {name: Subnet.from_dict(values) for name, values in json.loads(kept.read_text()).items()}
    originals = {name: job.extract_calibrated(subnet) for name, subnet in networks.items()}
    before = {name: scores(job, model, networks[name].resolution) for name, model in originals.items()}
    for (taught, share, rate), (name, subnet) in itertools.product(grid(), networks.items()):
        row = {"run": run.name, "size": name, "subnet": subnet.id, "teacher": taught, "share": share, "lr": rate}
        if key(row) in done:
            continue
        model, started, epochs = copy.deepcopy(originals[name]), time.perf_counter(), max(1, round(share * total))
        finetune(
            model,
            teacher if taught else None,
            lambda epoch, start: job.data.train_batches(total + epoch, size, start=start),
            epochs=epochs,
            steps_per_epoch=job.data.steps(size),
            lr=rate * peak,
            resolution=subnet.resolution,
            teacher_resolution=recipe.space.largest.resolution,
            normalize=job.data.normalize,
            settings=training_settings(recipe),
            progress=False,
        )
        row |= {"epochs": epochs, "seconds": time.perf_counter() - started, "before": before[name]}
        row["trained"] = scores(job, model, subnet.resolution)
        row["calibrated"] = scores(job, job.calibrated(model, subnet.resolution), subnet.resolution)
        with rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        gain = row["calibrated"]["test_accuracy"] - before[name]["test_accuracy"]
        print(*key(row), f"{100 * gain:+.1f} points, {row['seconds']:.0f} s", flush=True)


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("run", "size", "teacher", "share", "lr"))


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# -- tables -----------------------------------------------------------------------------------------------------------


def tables(rows: list[dict[str, Any]]) -> str:
    """Markdown: what each way gains, which statistics are better, and which rule of keeping the result is."""
    data = {row["run"]: row["run"].rpartition("_")[0] for row in rows}
    names = list(dict.fromkeys(data.values()))
    counts = {name: sum(each == name for each in data.values()) for name in names}
    lines = ["| teacher | epochs | learning rate | " + " | ".join(f"{name} ({counts[name]} seeds)" for name in names)]
    lines[0] += " |\n" + "|---" * (3 + len(names)) + "|"
    before = []
    for name in names:
        seen = {(row["run"], row["size"]): row["before"] for row in rows if data[row["run"]] == name}
        before.append(f"{100 * np.mean([each['test_accuracy'] for each in seen.values()]):.2f} %")
    lines.append("| before | | | " + " | ".join(before) + " |")
    for taught, share, rate in sorted(set(map(way, rows)), reverse=True):
        cells = []
        for name in names:
            of = [row for row in rows if data[row["run"]] == name and way(row) == (taught, share, rate)]
            gains = [gain(row, "calibrated") for row in of]
            losses = [row["calibrated"]["test_loss"] - row["before"]["test_loss"] for row in of]
            cells.append(f"{100 * np.mean(gains):+.2f}, {np.mean(losses):+.3f} ({len(of)})" if of else "")
        lines.append(f"| {'yes' if taught else 'no'} | {share}x | {rate}x | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_by_size(rows, data, names), "", *_statistics(rows, data, names), "", *_rules(rows)])


def way(row: dict[str, Any]) -> tuple[bool, float, float]:
    return row["teacher"], row["share"], row["lr"]


def gain(row: dict[str, Any], kind: str) -> float:
    return row[kind]["test_accuracy"] - row["before"]["test_accuracy"]


def _by_size(rows: list[dict[str, Any]], data: dict[str, str], names: list[str]) -> list[str]:
    """Of one way, which all networks were trained in."""
    lines = ["| network | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for size in SIZES:
        cells = []
        for name in names:
            of = [row for row in rows if data[row["run"]] == name and row["size"] == size and way(row) == SHOWN]
            pairs = [(row["before"]["test_accuracy"], row["calibrated"]["test_accuracy"]) for row in of]
            cells.append("{:.2f} to {:.2f}".format(*(100 * np.mean(pairs, axis=0))) if pairs else "")
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    return lines


def _statistics(rows: list[dict[str, Any]], data: dict[str, str], names: list[str]) -> list[str]:
    """Batch norm's running statistics as training left them, and calibrated again."""
    lines = ["| statistics | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for kind in ("trained", "calibrated"):
        cells = []
        for name in names:
            of = [row for row in rows if data[row["run"]] == name]
            losses = [row[kind]["test_loss"] for row in of]
            cells.append(f"{100 * np.mean([gain(row, kind) for row in of]):+.2f}, {np.mean(losses):.4f}")
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return lines


def _rules(rows: list[dict[str, Any]]) -> list[str]:
    """What is kept by validation accuracy (cross-entropy breaks ties), by cross-entropy, and always."""

    def surer(row: dict[str, Any]) -> bool:
        return row["calibrated"]["validation_loss"] < row["before"]["validation_loss"]

    def more_accurate(row: dict[str, Any]) -> bool:
        old, new = (row[kind]["validation_accuracy"] for kind in ("before", "calibrated"))
        return (new, surer(row)) > (old, False)

    rules: dict[str, Callable[[dict[str, Any]], bool]] = {
        "always": lambda row: True,
        "validation accuracy": more_accurate,
        "validation cross-entropy": surer,
        "either": lambda row: more_accurate(row) or surer(row),
    }
    lines = ["| kept | of | gain in points | kept though worse | left out though better |", "|---|---|---|---|---|"]
    for name, rule in rules.items():
        kept = [rule(row) for row in rows]
        gains = [gain(row, "calibrated") for row in rows]
        worse = sum(keep and change < 0 for keep, change in zip(kept, gains, strict=True))
        better = sum(not keep and change > 0 for keep, change in zip(kept, gains, strict=True))
        mean = 100 * np.mean([change if keep else 0 for keep, change in zip(kept, gains, strict=True)])
        lines.append(f"| {name} | {sum(kept)} of {len(rows)} | {mean:+.2f} | {worse} | {better} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measured = commands.add_parser("measure")
    measured.add_argument("rows", type=Path)
    measured.add_argument("runs", type=Path, nargs="+")
    shown = commands.add_parser("tables")
    shown.add_argument("rows", type=Path)
    options = parser.parse_args()
    if options.command == "measure":
        for run in options.runs:
            measure(run, options.rows)
    else:
        print(tables(read_rows(options.rows)))


if __name__ == "__main__":
    main()
