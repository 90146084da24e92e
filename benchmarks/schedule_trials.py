"""Trains supernets of small images by many schedules, each with the same compute, and measures subnets of every size.

    python benchmarks/schedule_trials.py RESULTS --cifar10 FOLDER --fashion FOLDER --keywords FOLDER [--rounds NAME ...]
    python benchmarks/schedule_tables.py RESULTS

What is trained is in ``schedule_jobs.py``. A trial's compute is that of so many passes of the full network over the
images, forward and backward; passes without a backward one (teachers, candidates) count a third. Accuracy is the test
images' after calibration, of 20 subnets spread over multiply-accumulates; nothing is chosen by it but the defaults.

Rows are appended to RESULTS/trials.jsonl; what is there is not done again. ``--device cuda --workers 4`` feeds one GPU;
``--minutes`` ends it early, with the rows that are there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import traceback
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from schedule_data import SOURCES, Images
from schedule_jobs import ROUNDS, Trial

from ofa.pipeline.estimate import macs_of_step
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import top1
from ofa.predictors.sampling import stratified_sample
from ofa.supernet import families
from ofa.supernet.calibration import calibrate
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import SCHEDULES, Phase, all_open
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

CHUNK = 8  # steps that count as an epoch here, so that phases of few steps can be cut to equal compute
MEASURED = 20
DRAWS = 300  # steps whose compute is averaged
FOLDERS = ("cifar10", "fashion", "keywords")


@dataclass(frozen=True)
class Row:
    """A finished trial: test accuracies from the smallest to the largest subnet, and what it took."""

    trial: dict[str, Any]
    accuracies: list[float]
    phases: list[str]
    steps: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="RESULTS")
    for name in FOLDERS:
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=f"the data of {name}")
    parser.add_argument("--rounds", nargs="+", choices=list(ROUNDS), default=list(ROUNDS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e6, help="end after so long, finished or not")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes

    # Data sets that are at hand are decoded once, for all workers.
    options.out.mkdir(parents=True, exist_ok=True)
    trials = [trial for name in options.rounds for trial in ROUNDS[name]()]
    folders = {name: getattr(options, name.split("_")[0], Path()) for name in dict.fromkeys(t.data for t in trials)}
    for name, folder in folders.items():
        path = options.out / f"{name}.npz"
        if folder is not None and not path.exists():
            np.savez(path, **SOURCES[name].read(folder))
    done = {_key(row.trial) for row in read_rows(options.out)}
    trials = [trial for trial in dict.fromkeys(trials) if (options.out / f"{trial.data}.npz").exists()]
    todo = [trial for trial in trials if _key(asdict(trial)) not in done]
    print(f"{len(todo)} of {len(trials)} trials to do", flush=True)

    work = {"images": options.out, "device": options.device}
    with multiprocessing.get_context("spawn").Pool(options.workers, _begin, [work]) as pool:
        results = pool.imap_unordered(run, todo)
        for number in range(len(todo)):
            try:
                row = results.next(timeout=max(0.0, ends - time.monotonic()))
            except multiprocessing.TimeoutError:
                print(f"out of time: {len(todo) - number} of {len(todo)} trials are missing", flush=True)
                return
            if row:
                with (options.out / "trials.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
                print(f"{number + 1}/{len(todo)} {summary(row)}", flush=True)


def read_rows(out: Path) -> list[Row]:
    path = out / "trials.jsonl"
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def summary(row: Row) -> str:
    changed = {name: value for name, value in row.trial.items() if value != getattr(Trial, name, None)}
    text = " ".join(f"{name} {value}" for name, value in changed.items())
    ends = f"smallest {100 * row.accuracies[0]:.1f}, largest {100 * row.accuracies[-1]:.1f}"
    return f"{text}: {100 * mean(row.accuracies):.2f} ({ends}; {', '.join(row.phases)}; {row.seconds:.0f} s)"


def _key(trial: dict[str, Any]) -> str:
    """Two trials with the same key are one: a setting that was added later has its default in older rows."""
    return json.dumps({**asdict(Trial(data="", images=0, passes=0)), **trial}, sort_keys=True)


# -- one trial, in a worker -------------------------------------------------------------------------------------------

_WORK: dict[str, Any] = {}


def _begin(work: dict[str, Any]) -> None:
    _WORK.update(work)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@cache
def images_of(data: str, images: int) -> Images:
    with np.load(_WORK["images"] / f"{data}.npz") as arrays:
        return Images(dict(arrays), SOURCES[data], images=images, device=torch.device(_WORK["device"]))


@cache
def space_of(data: str) -> SearchSpace:
    return SearchSpace.from_dict({**families.presets()["tiny_mbv3"], "resolutions": list(SOURCES[data].resolutions)})


def run(trial: Trial) -> Row | None:
    """Trains and measures. A training that fails has no row: one learning rate too many must not end the others."""
    try:
        return trained_and_measured(trial)
    except Exception:
        print(f"{trial}:\n{traceback.format_exc()}", flush=True)
        return None


def trained_and_measured(trial: Trial) -> Row:
    started = time.perf_counter()
    images, space = images_of(trial.data, trial.images), space_of(trial.data)
    macs = CostTable.macs(space, num_classes=images.num_classes, in_chans=images.channels)
    phases = phases_of(trial, space, macs, num_images=len(images))
    steps = CHUNK * sum(phase.epochs for phase in phases)
    torch.manual_seed(trial.seed)
    net = Supernet(space, num_classes=images.num_classes, in_chans=images.channels, drop_rate=trial.dropout)
    net.to(images.device)
    train_supernet(
        net,
        phases,
        lambda chunk, start: images.batches(
            CHUNK * chunk + start, CHUNK - start, size=trial.batch_size, seed=trial.seed
        ),
        steps_per_epoch=CHUNK,
        normalize=images.normalize,
        settings=settings_of(trial, steps),
        macs=macs.predict,
        progress=False,
    )
    accuracies = []
    for code in stratified_sample(space, MEASURED, macs, np.random.default_rng(1)):
        subnet = space.decode(code)
        model = net.extract(subnet).to(images.device)
        calibrate(model, images.calibration(subnet.resolution))
        accuracies.append(round(top1(model.eval(), images.test(subnet.resolution)), 4))
    names = [f"{phase.name} {CHUNK * phase.epochs}" for phase in phases]
    return Row(asdict(trial), accuracies, names, steps, round(time.perf_counter() - started, 1))


def settings_of(trial: Trial, steps: int) -> Settings:
    return Settings(
        weight_decay=trial.weight_decay,
        label_smoothing=trial.smoothing,
        mixup=trial.mixup,
        ema=1 - 1 / max(2.0, trial.ema * steps) if trial.ema else None,
        warmup_epochs=trial.warmup * steps / CHUNK,
        clip_grad=trial.clip_grad or None,
        distill_weight=trial.distill_weight,
        seed=trial.seed,
    )


def phases_of(trial: Trial, space: SearchSpace, macs: CostTable, *, num_images: int) -> tuple[Phase, ...]:
    """Phases of whole chunks that take the trial's compute together."""
    full = Phase("full", 1, trial.lr)
    budget = trial.passes * (num_images // trial.batch_size) * macs_of_step(space, full, macs, draws=DRAWS)
    if trial.schedule == "warm":
        own = {"sampling": trial.sampling, "teacher": trial.teacher, "subnets": trial.subnets}
        later = Phase("all", 1, trial.lr * trial.later_lr, open=all_open(space), sort_channels=True, **own)
        phases, shares = [full, later], [trial.share, 1 - trial.share]
    else:  # a schedule of the product, with its own ratios of lengths
        first, *others = SCHEDULES[trial.schedule](space, epochs=180, lr=trial.lr)
        phases = [first, *(replace(phase, lr=phase.lr * trial.later_lr) for phase in others)]
        costs = [phase.epochs * macs_of_step(space, phase, macs, draws=DRAWS) for phase in phases]
        shares = [cost / sum(costs) for cost in costs]
    return tuple(
        replace(phase, epochs=chunks)
        for phase, share in zip(phases, shares, strict=True)
        if (chunks := round(share * budget / macs_of_step(space, phase, macs, draws=DRAWS) / CHUNK))
    )


if __name__ == "__main__":
    main()
