"""Trains a recipe's supernet in several ways, and measures the same 20 subnets of each on its test images.

    python benchmarks/recipe_training.py quickstart RUNS --way default= \\
        --way before="train={epochs: 16, lr: 0.2, batch_size: 32, warmup_epochs: 2}" [--seeds 0 1 2]

A way is a name and an override of the recipe, as of ``ofa run --set``. Supernets are in RUNS/WAY/SEED, and are not
trained again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import mean

import numpy as np

from ofa.config.recipe_file import find_recipe, load_recipe
from ofa.pipeline.estimate import training_macs
from ofa.pipeline.job import Job
from ofa.predictors.metrics import top1
from ofa.predictors.sampling import stratified_sample

SUBNETS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("--way", action="append", required=True, metavar="NAME=OVERRIDE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    print("| way | seed | training, GMACs | validation, 20 subnets | test, 20 subnets | smallest | largest |")
    print("|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        for way in options.way:
            name, override = way.split("=", 1)
            overrides = [f"seed={seed}", *([override] if override else [])]
            print(row(options.recipe, overrides, options.runs / name / str(seed), name=name, seed=seed), flush=True)


def row(recipe: str, overrides: list[str], folder: Path, *, name: str, seed: int) -> str:
    words = [sys.executable, "-m", "ofa", "train", recipe, "--out", str(folder)]
    words += [word for override in overrides for word in ("--set", override)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    job = Job(load_recipe(find_recipe(recipe), overrides=overrides), folder)
    space = job.recipe.space
    found = []
    for code in stratified_sample(space, SUBNETS, job.macs, np.random.default_rng(1)):
        subnet = space.decode(code)
        model = job.extract_calibrated(subnet)
        found.append([100 * top1(model, job.images(split, subnet.resolution)) for split in ("validation", "test")])
    validation, test = zip(*found, strict=True)
    compute = training_macs(job.recipe, job.data, job.macs) / 1e9
    cells = [f"{value:.1f}" for value in (mean(validation), mean(test), test[0], test[-1])]
    return f"| {name} | {seed} | {compute:.0f} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
