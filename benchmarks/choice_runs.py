"""A small supernet for each data set and seed, and the networks of it that every comparison needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from choice_data import write_data
from choice_measured import Measured

from ofa.predictors.sampling import stratified_sample

_RESOLUTIONS = {"digits": [12, 16, 20], "fashion": [12, 16, 20], "keywords": [16, 20, 24]}
_EPOCHS = {"digits": (8, 14), "fashion": (5, 5), "keywords": (6, 5)}  # of the full network, then of all subnets


def prepare(name: str, seed: int, folder: Path, *, keywords: Path) -> Path:
    """Trains the supernet and measures a hundred collected networks, as ``collect`` does; goes on where it stopped."""
    run = folder / f"{name}_{seed}"
    if not (run / "supernet" / "weights.safetensors").exists():
        data = write_data(name, folder / "data" / run.name, seed=seed, keywords=keywords)
        recipe = folder / f"{run.name}.yaml"
        recipe.write_text(yaml.safe_dump(_recipe(name, seed, data)), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "ofa", "train", str(recipe), "--out", str(run)], check=True)
    measured = Measured(run)
    codes = stratified_sample(measured.space, 100, measured.job.macs, np.random.default_rng([seed, 2]))
    for code in codes[np.argsort(codes[:, measured.space.genes_of("resolution")[0]], kind="stable")]:
        measured.logits(code[None])
    measured.save()
    return run


def _recipe(name: str, seed: int, data: dict[str, object]) -> dict[str, object]:
    full, others = _EPOCHS[name]
    shrunk = {"kernel": 3, "depth": 2, "expand": 3}
    phases = [
        {"name": "full", "epochs": full, "lr": 0.15},
        {"name": "random", "epochs": others, "lr": 0.12, "subnets": 2, "open": shrunk, "sort_channels": True},
    ]
    return {
        "seed": seed,
        "space": {"preset": "tiny_mbv3", "resolutions": _RESOLUTIONS[name]},
        "data": data,
        "train": {"batch_size": 32, "warmup_epochs": 1, "eval_images": 100, "phases": phases},
        "targets": {"any": {"limits": {"macs": "0.5x"}}},
    }
