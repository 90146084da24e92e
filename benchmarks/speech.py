"""Compares networks found for spoken words on a Cortex-M4 with hand-made ones of the same RAM.

    python benchmarks/speech.py features kws12 SPEECH_COMMANDS_FOLDER kws12_pictures
    ofa run benchmarks/keywords.yaml
    python benchmarks/speech.py results runs/keywords

With ``fsdd`` and ``benchmarks/fsdd.yaml`` for spoken digits; ``--held-out george`` makes one speaker the test split.
``all`` does the last two for several seeds, and can be stopped and called again:

    python benchmarks/speech.py all benchmarks/keywords.yaml OUT --seeds 0 1 2
    python benchmarks/speech.py summary OUT

``results`` scores what the run found for each target. It trains the hand-made networks, alone, for as many epochs as
the supernet and the fine-tuning have together. What was trained is stored in the run's folder ``compared``, so that a
second call only scores it. All models are quantised, compiled and scored in the same way; accuracies are of the test
split.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
from ds_cnn import NETWORKS, DsCnn, trained
from speech_features import SOUNDS, TAKES, write_features
from torch import nn

import ofa
from ofa.config.finetuning import finetunings
from ofa.config.recipe_file import load_run_recipe
from ofa.config.schedule import training_phases
from ofa.export.runtimes import tflm
from ofa.pipeline.job import Job
from ofa.predictors.metrics import top1
from ofa.supernet.files import read_json, write_json
from ofa.supernet.saving import save_weights
from ofa.targets.deployment import Deployment
from ofa.targets.model_files import ExportSettings, write_models
from ofa.targets.model_formats import ExportSpec, open_session

M4 = Deployment("cortex_m4", 8)
INT8_DROP = 0.01
_TEXT = ("network", "quantised_with")


def hand_made(job: Job, name: str) -> tuple[nn.Module, Path]:
    def train() -> nn.Module:
        phases, tuned = training_phases(job.recipe), finetunings(job.recipe).values()
        epochs = sum(phase.epochs for phase in phases) + max((one.epochs for one in tuned), default=0)
        return trained(job, name, lr=phases[0].lr, epochs=epochs)

    model = DsCnn(*NETWORKS[name], **job.model_kwargs)
    return _compared(job, name, model, train, resolution=job.recipe.space.resolutions[-1])


def _compared(
    job: Job, name: str, model: nn.Module, train: Callable[[], nn.Module], *, resolution: int
) -> tuple[nn.Module, Path]:
    """A trained network with its int8 model and program, and their folder; both are kept there."""
    folder = job.folder / "compared" / re.sub(r"[^a-z0-9]+", "_", name.lower())
    weights = folder / "weights.safetensors"
    if weights.exists():
        model.load_state_dict(safetensors.torch.load_file(weights))
    else:
        model = train()
        save_weights(model, weights)
    if not (folder / "verify.json").exists():
        compile_model(job, model.eval(), folder, resolution=resolution)
    return model.eval(), folder


def compile_model(job: Job, model: nn.Module, folder: Path, *, resolution: int) -> None:
    """Writes the int8 model, its program and ``verify.json``, as the stage ``export`` does."""
    spec = ExportSpec(model, folder, resolution, {}, INT8_DROP)
    recipe = job.recipe
    settings = ExportSettings(recipe.measure.threads, recipe.collect.calibration_images, list(recipe.targets))
    _, result = write_models(M4, spec, images=job.images, settings=settings)
    write_json(folder / "verify.json", result)


def row(job: Job, name: str, model: nn.Module, folder: Path, *, resolution: int) -> dict[str, str | float]:
    """The table's row of one network; ``folder`` has its int8 model and ``verify.json``."""
    verified = read_json(folder / "verify.json")
    session = open_session(M4, folder, threads=1)
    content = (folder / verified["file"]).read_bytes()
    program = verified["program"]
    return {
        "network": name,
        "seed": job.recipe.seed,
        "resolution": resolution,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "validation_int8": verified["validation_accuracy"],
        "test_float32": top1(model, job.images("test", resolution)),
        "test_int8": top1(lambda images: tflm.run(session, images.numpy()), job.images("test", resolution)),
        "ram": program["sram"],
        "arena_head": tflm.allocations(content)[0],
        "flash": program["flash"],
        "instructions": program["instructions"],
        "quantised_with": verified["int8"]["used"],
    }


def results(run: Path, networks: Sequence[str]) -> list[dict[str, str | float]]:
    """The rows of one run; also written to ``RUN/rows.json``."""
    job = Job(load_run_recipe(run), run)
    rows = []
    for name in job.recipe.targets:
        folder = run / "models" / name
        subnet = ofa.Subnet.from_dict(read_json(folder / "subnet.json")["subnet"])
        rows.append(row(job, f"{name}, found", ofa.load_subnet(folder), folder, resolution=subnet.resolution))
    for name in networks:
        rows.append(row(job, name, *hand_made(job, name), resolution=job.recipe.space.resolutions[-1]))
    write_json(run / "rows.json", rows)
    return rows


def table(rows: list[dict[str, str | float]]) -> str:
    lines = [
        "| network | px | test float32 | test int8 (TFLM) | RAM, KB | arena head, KB | flash, KB | instructions, M |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['network']} | {row['resolution']} | {row['test_float32']:.1%} | {row['test_int8']:.1%} "
        f"| {row['ram'] / 1024:.1f} | {row['arena_head'] / 1024:.1f} | {row['flash'] / 1024:.0f} "
        f"| {row['instructions'] / 1e6:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def summary(folder: Path) -> str:
    """The rows of all runs below ``folder``, averaged over them: of seeds, or of held-out speakers."""
    rows: dict[str, list[dict[str, float]]] = {}
    for path in sorted(folder.rglob("rows.json")):
        for one in read_json(path):
            rows.setdefault(one["network"], []).append(one)
    lines = [
        "| network | runs | test float32 | test int8 (TFLM), mean (each) | RAM, KB | flash, KB | instructions, M |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        each = {key: np.array([one[key] for one in found], float) for key in found[0] if key not in _TEXT}
        int8 = ", ".join(f"{100 * value:.1f}" for value in each["test_int8"])
        lines.append(
            f"| {name} | {len(found)} | {each['test_float32'].mean():.1%} | {each['test_int8'].mean():.1%} ({int8}) "
            f"| {each['ram'].max() / 1024:.1f} | {each['flash'].mean() / 1024:.0f} "
            f"| {each['instructions'].mean() / 1e6:.1f} |"
        )
    return "\n".join(lines)


def run_all(recipe: Path, out: Path, *, seeds: Sequence[int], settings: Sequence[str], networks: Sequence[str]) -> None:
    """A run of the recipe and its results for each seed, one after the other; what is finished is skipped."""
    for seed in seeds:
        run = out / f"seed{seed}"
        options = [argument for setting in (f"seed={seed}", *settings) for argument in ("--set", setting)]
        subprocess.run([sys.executable, "-m", "ofa", "run", str(recipe), "--out", str(run), *options], check=True)
        print(f"seed {seed}\n{table(results(run, networks))}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    features = commands.add_parser("features", help="write the pictures that the recipe reads")
    features.add_argument("name", choices=SOUNDS)
    features.add_argument("source", type=Path, help="folder of the .npz file")
    features.add_argument("folder", type=Path)
    features.add_argument("--copies", type=int, default=3, help="changed copies of each training recording")
    features.add_argument("--held-out", default=TAKES, help="of fsdd: the speaker that is the test split")
    scored = commands.add_parser("results", help="train and score hand-made networks beside a run's")
    scored.add_argument("run", type=Path)
    every = commands.add_parser("all", help="run a recipe and score it, with several seeds")
    every.add_argument("recipe", type=Path)
    every.add_argument("out", type=Path)
    every.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    every.add_argument("--set", nargs="*", default=[], dest="settings", help="of the recipe, such as data.folder=...")
    averaged = commands.add_parser("summary", help="a table of the mean over all scored runs in a folder")
    averaged.add_argument("folder", type=Path)
    for command in (scored, every):
        command.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS), help="hand-made ones")
    chosen = parser.parse_args()
    if chosen.command == "features":
        options = {"copies": chosen.copies, "held_out": chosen.held_out}
        print(write_features(chosen.name, chosen.source, chosen.folder, **options))
    elif chosen.command == "summary":
        print(summary(chosen.folder))
    elif chosen.command == "all":
        options = {"seeds": chosen.seeds, "settings": chosen.settings, "networks": chosen.networks}
        run_all(chosen.recipe, chosen.out, **options)
    else:
        rows = results(chosen.run, chosen.networks)
        print(table(rows))
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
