"""Compares supernet training with training each network alone, and training schedules, on CIFAR-10.

    python benchmarks/schedules.py CIFAR10_FOLDER --out RESULTS [--epochs 5] [--images 20000] [--seed 0]

Every schedule gets as much training compute as ``progressive_shrinking`` with so many epochs of its full-network phase.
Compute is the multiply-accumulates of forward and backward passes; passes without a backward one (teachers, candidates)
count a third. Networks trained alone start from random weights and get those epochs at their own resolution, with the
same optimizer, learning rate, augmentation and label smoothing. All test accuracies are after calibration, none after
fine-tuning.

Rows are appended to RESULTS/rows.jsonl as they are measured. The same command resumes from them, and prints the tables
at the end. ``--only NAME ...`` runs some of: the schedules' names, ``alone``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from cifar10 import CLASSES, SPACE, Cifar10, prepare
from scipy.stats import kendalltau

from ofa.pipeline import estimate
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.sampling import stratified_sample
from ofa.supernet.families.mobilenetv3.model import build, describe
from ofa.supernet.saving import save_weights
from ofa.supernet.space import Subnet
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.finetune import finetune
from ofa.supernet.training.phases import SCHEDULES, Phase, progressive_shrinking
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

LR = 0.1
BATCH = 64
SETTINGS = Settings(weight_decay=1e-4, label_smoothing=0.1)
COMPARED, ALONE, SHOWN = 50, 9, 5  # networks: of the mean, trained alone, in the table of one by one
TEST_IMAGES = 5000  # for the 50
MACS = CostTable.macs(SPACE, num_classes=CLASSES, in_chans=3)


@dataclass(frozen=True)
class Row:
    """One measurement of a schedule's subnet, or (``schedule`` "alone") of one that was trained alone."""

    schedule: str
    seed: int
    subnet: str
    images: int
    accuracy: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CIFAR10_FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="RESULTS")
    parser.add_argument("--epochs", type=int, default=5, help="of the full network, and of networks trained alone")
    parser.add_argument("--images", type=int, default=20000, help="of the 50,000 for training")
    parser.add_argument("--later-lr", type=float, default=1.0, help="factor on lr after the first phase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=[*SCHEDULES, "alone"], default=[*SCHEDULES, "alone"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    data = Cifar10(options.folder, images=options.images, seed=options.seed)
    for name in options.only:
        if name == "alone":
            train_alone(data, options)
        else:
            train_and_measure(name, data, options)
    print(tables(read_rows(options.out), options))


# -- what is trained --------------------------------------------------------------------------------------------------


def alike_in_compute(name: str, *, epochs: int) -> tuple[Phase, ...]:
    """A schedule whose last phase is as long as gives it the compute of ``progressive_shrinking``."""
    wanted = sum(phase.epochs * macs_of_step(phase) for phase in progressive_shrinking(SPACE, epochs=epochs, lr=LR))
    *first, last = SCHEDULES[name](SPACE, epochs=epochs, lr=LR)
    if name == "progressive_shrinking":
        return (*first, last)
    left = wanted - sum(phase.epochs * macs_of_step(phase) for phase in first)
    return (*first, replace(last, epochs=max(1, round(left / macs_of_step(last)))))


def macs_of_step(phase: Phase) -> float:
    return estimate.macs_of_step(SPACE, phase, MACS, draws=400)


def trained_supernet(name: str, data: Cifar10, options: argparse.Namespace) -> Supernet:
    """The trained supernet, from its file in the results folder if it was trained before."""
    path = options.out / f"{name}-{options.seed}.safetensors"
    torch.manual_seed(options.seed)
    net = Supernet(SPACE, num_classes=CLASSES)
    if path.exists():
        net.load_state_dict(safetensors.torch.load(path.read_bytes()))
        return net.eval()
    first, *later = alike_in_compute(name, epochs=options.epochs)
    phases = (first, *(replace(phase, lr=phase.lr * options.later_lr) for phase in later))
    started = time.perf_counter()
    print(name, *(f"{phase.name} {phase.epochs}" for phase in phases), flush=True)
    train_supernet(
        net,
        phases,
        lambda epoch, start: data.batches(epoch, size=BATCH, start=start),
        steps_per_epoch=options.images // BATCH,
        normalize=prepare,
        settings=replace(SETTINGS, seed=options.seed),
        macs=MACS.predict,
        on_epoch=lambda _net, _phase, figures: print(json.dumps(figures), flush=True),
    )
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    save_weights(net, path)
    return net.eval()


def train_and_measure(name: str, data: Cifar10, options: argparse.Namespace) -> None:
    net = trained_supernet(name, data, options)
    wanted = [(subnet, TEST_IMAGES) for subnet in compared()]
    wanted += [(subnet, len(data.test)) for subnet in [*alone(), SPACE.smallest, SPACE.largest]]
    done = {(row.schedule, row.seed, row.subnet, row.images) for row in read_rows(options.out)}
    for subnet, images in wanted:
        if (name, options.seed, subnet.id, images) not in done:
            accuracy = data.test_accuracy(net.extract(subnet), subnet.resolution, images=images)
            append(options.out, Row(name, options.seed, subnet.id, images, accuracy))
            done.add((name, options.seed, subnet.id, images))


def train_alone(data: Cifar10, options: argparse.Namespace) -> None:
    done = {(row.schedule, row.seed, row.subnet) for row in read_rows(options.out)}
    order = np.argsort(np.arange(ALONE) % ((ALONE - 1) // (SHOWN - 1)), kind="stable")  # those of the first table first
    for number in order:
        subnet = alone()[number]
        if ("alone", options.seed, subnet.id) in done:
            continue
        torch.manual_seed(options.seed)
        model = build(describe(SPACE, subnet, num_classes=CLASSES, in_chans=3)).to(memory_format=torch.channels_last)
        finetune(
            model,
            None,
            lambda epoch, start: data.batches(epoch, size=BATCH, start=start),
            epochs=options.epochs,
            steps_per_epoch=options.images // BATCH,
            lr=LR,
            resolution=subnet.resolution,
            normalize=prepare,
            settings=replace(SETTINGS, seed=options.seed),
        )
        accuracy = data.test_accuracy(model, subnet.resolution)
        append(options.out, Row("alone", options.seed, subnet.id, len(data.test), accuracy))


def compared() -> list[Subnet]:
    """Subnets spread evenly over multiply-accumulates, the same for every schedule and seed."""
    return [SPACE.decode(code) for code in stratified_sample(SPACE, COMPARED, MACS, np.random.default_rng(1))]


def alone() -> list[Subnet]:
    """Fewer such subnets, the smallest and the largest included."""
    return [SPACE.decode(code) for code in stratified_sample(SPACE, ALONE, MACS, np.random.default_rng(2))]


# -- rows and tables --------------------------------------------------------------------------------------------------


def append(folder: Path, row: Row) -> None:
    with (folder / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")
    print(row, flush=True)


def read_rows(folder: Path) -> list[Row]:
    path = folder / "rows.jsonl"
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def tables(rows: list[Row], options: argparse.Namespace) -> str:
    """Markdown tables of all measurements so far, over all seeds."""
    most = max((row.images for row in rows), default=0)
    found: dict[tuple[str, str, int], list[float]] = {}
    for row in rows:
        found.setdefault((row.schedule, row.subnet, row.images), []).append(row.accuracy)

    def mean(schedule: str, subnet: Subnet, images: int = most) -> float:
        return float(np.mean(found.get((schedule, subnet.id, images), [np.nan])))

    shown = alone()[:: (ALONE - 1) // (SHOWN - 1)]
    lines = [
        f"Five of {SPACE.size:,} networks, test accuracy in percent, seeds {sorted({row.seed for row in rows})}:\n"
    ]
    lines += ["| subnet | MACs | " + " | ".join([*SCHEDULES, "alone"]) + " |", "|---" * (len(SCHEDULES) + 3) + "|"]
    for subnet in shown:
        macs = MACS.predict(SPACE.encode(subnet)[None])[0]
        cells = " | ".join(f"{100 * mean(name, subnet):.1f}" for name in [*SCHEDULES, "alone"])
        lines.append(f"| {subnet.id} | {macs / 1e6:.2f} M | {cells} |")
    means = (100 * np.mean([mean(name, subnet) for subnet in shown]) for name in [*SCHEDULES, "alone"])
    lines.append("| mean | | " + " | ".join(f"{value:.1f}" for value in means) + " |")
    lines += ["", "| schedule | phases (epochs) | 50 subnets | smallest | largest | Kendall tau with alone |"]
    lines.append("|---" * 6 + "|")
    for name in SCHEDULES:
        phases = ", ".join(f"{p.name} {p.epochs}" for p in alike_in_compute(name, epochs=options.epochs))
        fifty = 100 * np.mean([mean(name, subnet, TEST_IMAGES) for subnet in compared()])
        ends = (f"{100 * mean(name, subnet):.1f}" for subnet in (SPACE.smallest, SPACE.largest))
        tau = kendalltau([mean(name, one) for one in alone()], [mean("alone", one) for one in alone()]).statistic
        lines.append(f"| {name} | {phases} | {fifty:.1f} | {' | '.join(ends)} | {tau:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
