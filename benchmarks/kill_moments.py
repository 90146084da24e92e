"""Kills runs by SIGKILL at random moments and resumes them: the files at the end must be the same, byte for byte.

    python benchmarks/kill_moments.py --kills 100 --out benchmarks/results/kill_moments.md

A process imports torch once and forks one for each command, as tests/ofa/pipeline/test_kills.py does. Each is killed
at a random moment of a stage, and the same command is given again for the same folder. A run that ends is compared with
one that was never stopped, and the next one begins. Measured latencies always differ, so the times of timed calls are
replaced by numbers that depend on the call alone. The calls themselves run.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import json
import os
import platform
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torch

from ofa.cli import main
from ofa.pipeline.manifest import RunManifest
from ofa.stages import STAGES
from ofa.supernet.training.checkpoint import read_checkpoint

RECIPE = """
data: {workers: 0}
space:
  family: mobilenetv3
  resolutions: [12, 16]
  stem: {width: 8, first_width: 8, stride: 2}
  stages:
    - {width: 16, stride: 2, act: relu, depths: [1, 2], kernels: [3, 5], expands: [2, 3]}
  head: {width: 32, features: 32}
train: {epochs: 2, lr: 0.1, batch_size: 128, ema: 0.9, mixup: 0.2, eval_images: 16, checkpoint: {steps: 2}}
collect: {subnets: 12, calibration_images: 128}
measure: {rounds: 3, fit_subnets: 4, test_subnets: 3}
search: {population: 20, generations: 4}
targets:
  timed: {limits: {latency: 0.9x}}
  counted: {runtime: torch, limits: {macs: 0.8x}}
"""
# What holds seconds of the wall clock, or bytes of memory as the system counted them; its other values are compared.
CLOCK = {"seconds", "images_per_second", "seconds_left", "resident_bytes"}
REPORTS = ("report.md", "report.html", "card.md")  # made from report.json, which is compared
JOURNALS = ("run.json", "run.copy.json")


def run(recipe: Path, folder: Path, log: Path) -> int:
    """Forks a process that runs the command; returns its id."""
    child = os.fork()
    if child:
        return child
    for number in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    code = 0
    try:
        main(["run", str(recipe), "--out", str(folder)])
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)


def interleaved(calls, *, rounds, cold=(), **_):
    """``timing.interleaved`` with times that depend on the call's index alone. Every call runs."""
    for call in calls:
        call()
    places = np.arange(len(calls))
    base = 1e-4 * (1 + (places * 7919 % 97) / 97) * np.where(np.isin(places, list(cold)), 1.3, 1)
    return base[None] * (1 + 0.01 * np.arange(rounds)[:, None])


def replace_the_clock() -> None:
    """Replaces the clock in every module of ofa that times calls. Also imports torch, once for all commands."""
    for name in (*(f"ofa.stages.{stage}" for stage in STAGES), "onnxscript"):  # which the exporter imports for seconds
        importlib.import_module(name)
    for name, module in list(sys.modules.items()):
        if name.startswith("ofa.") and hasattr(module, "interleaved"):
            module.interleaved = interleaved


def made(folder: Path) -> dict[str, object]:
    """The content of the run's files, without times of the clock."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or path.name in REPORTS:
            continue
        if path.name in JOURNALS:
            stages = json.loads(path.read_text())
            found[name] = {stage: sorted(entry["files"]) for stage, entry in stages.items() if stage != "digest"}
        elif path.suffix == ".json":
            found[name] = without_clock(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            found[name] = [without_clock(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name.startswith("checkpoint-"):  # the unfinished epoch's seconds are in it
            checkpoint = read_checkpoint(path)
            tensors = {name: tensor.numpy().tobytes() for name, tensor in checkpoint.tensors.items()}
            found[name] = [tensors, checkpoint.global_step, without_clock(checkpoint.values)]
        else:
            found[name] = path.read_bytes()
    return found


def without_clock(values):
    if isinstance(values, dict):
        return {key: without_clock(value) for key, value in values.items() if key not in CLOCK and key != "model"}
    return [without_clock(value) for value in values] if isinstance(values, list) else values


def at_work(folder: Path) -> str:
    """The stage that a killed process was running."""
    journal = RunManifest(folder)
    if journal.lost:
        return "before the first stage"
    started = [name for name in STAGES if journal.inputs(name)]
    return next((name for name in started if not journal.finished(name)), f"after {started[-1]}" if started else "-")


def has_started(folder: Path, stage: str) -> bool:
    """Whether a stage is in the manifest and has no files yet."""
    try:
        entry = json.loads((folder / "run.json").read_text()).get(stage, {})
    except (OSError, ValueError):
        return False
    return "inputs" in entry and "files" not in entry


def experiment(kills: int, seed: int) -> str:
    rng, counts, wrong = random.Random(seed), collections.Counter(), []
    with tempfile.TemporaryDirectory() as place:
        recipe, log = Path(place) / "kills.yaml", Path(place) / "log"
        recipe.write_text(RECIPE)
        started = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(run(recipe, Path(place) / "whole", log), 0)[1])
        whole = time.monotonic() - started
        if code:
            raise SystemExit(log.read_text())
        expected, runs, done = made(Path(place) / "whole"), 0, 0
        durations = {name: RunManifest(Path(place) / "whole").seconds(name) for name in STAGES}
        print(f"a whole run: {whole:.1f} s, {len(expected)} files, {durations}", flush=True)
        folder, here = Path(place) / "0", collections.Counter()
        while done < kills or folder.exists():
            left = [name for name in STAGES if not RunManifest(folder).finished(name)] if folder.exists() else STAGES
            # Twice in each stage of a run, or once and once in the next; then it may end.
            stage = next((name for name in left if here[name] < 2), None)
            after = rng.uniform(0, durations[stage]) if stage else 0
            child, end = run(recipe, folder, log), None
            while (state := os.waitpid(child, os.WNOHANG))[0] == 0:
                if end is None and stage and done < kills and has_started(folder, stage):
                    end = time.monotonic() + after
                if end is not None and time.monotonic() > end:
                    os.kill(child, signal.SIGKILL)
                    state = os.waitpid(child, 0)
                    break
                time.sleep(0.002)
            code = os.waitstatus_to_exitcode(state[1])
            if code == -signal.SIGKILL:
                done += 1
                counts[at_work(folder)] += 1
                here[stage] += 1
                print(f"kill {done}: {at_work(folder)}", flush=True)
                continue
            runs += 1
            if code:
                wrong.append(f"exit code {code}: {log.read_text()[-2000:]}")
            else:
                found = made(folder)
                names = sorted(n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n))
                wrong += [f"run {runs}: {name} differs" for name in names]
            print(f"run {runs}: {'differs' if wrong else 'the same'}", flush=True)
            folder, here = Path(place) / str(runs), collections.Counter()
        tracebacks = log.read_text().count("Traceback (most recent call last)")
    rows = [f"| {name} | {count} |" for name, count in counts.most_common()]
    return "\n".join(
        [
            f"# SIGKILL at {kills} moments over all stages",
            "",
            f"`python benchmarks/kill_moments.py --kills {kills} --seed {seed}`: {done} kills in {runs} runs of all "
            f"{len(STAGES)} stages with two targets; a run that nothing stops takes {whole:.0f} s here.",
            "",
            f"**{runs - len({line.split(':')[0] for line in wrong})} of {runs} runs ended with the same files** "
            f"({len(expected)} each: weights, checkpoints, accuracies, predictor, cost tables, searches, models, "
            f"report), {tracebacks} tracebacks.",
            "",
            "Compared are all bytes but those of the wall clock (seconds, images a second) and of resident memory. "
            "Timed calls ran, but their times were replaced by numbers that depend on the call alone.",
            "",
            "| killed in | times |",
            "|---|---|",
            *rows,
            "",
            *(f"- {line}" for line in wrong),
            f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()}.",
            "",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    replace_the_clock()
    text = experiment(options.kills, options.seed)
    print(text)
    if options.out:
        options.out.write_text(text)
