"""Compares networks found for spoken digits on a Cortex-M4 with hand-made ones of the same RAM.

    python benchmarks/fsdd.py features FSDD_FOLDER fsdd_pictures
    ofa run benchmarks/fsdd.yaml
    python benchmarks/fsdd.py results runs/fsdd

``results`` adds for each target, of all networks whose validation accuracy the run measured, the best within the limit,
extracted and also fine-tuned (left out where a smaller target has the same one). It trains the hand-made networks and
stores them in ``RUN/hand_made``, so that a second call only scores them. It prints a table. All models are quantised,
compiled and scored in the same way; accuracies are of the test split.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
from fsdd_dscnn import NETWORKS, DsCnn, trained
from fsdd_features import write_features
from fsdd_training import train_alone
from torch import nn

import ofa
from ofa.config.recipe_file import load_run_recipe
from ofa.export.runtimes import tflm
from ofa.pipeline import subnet_csv
from ofa.pipeline.job import Job
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import top1
from ofa.supernet.files import read_json, write_json
from ofa.supernet.saving import save_weights
from ofa.targets.deployment import Deployment, environment
from ofa.targets.model_files import ExportSettings, write_models
from ofa.targets.model_formats import ExportSpec, open_session

M4 = Deployment("cortex_m4", 8)
INT8_DROP = 0.01
FINETUNE = {"epochs": 5, "lr": 0.05}


def hand_made(job: Job, name: str) -> tuple[nn.Module, Path]:
    folder = job.folder / "hand_made" / re.sub(r"[^a-z0-9]+", "_", name.lower())
    weights = folder / "weights.safetensors"
    if weights.exists():
        model = DsCnn(*NETWORKS[name], **job.model_kwargs)
        model.load_state_dict(safetensors.torch.load_file(weights))
    else:
        model = trained(job, name, lr=job.recipe.train.phases[0].lr)
        save_weights(model, weights)
    return compiled(job, model.eval(), folder, resolution=job.recipe.space.resolutions[-1]), folder


def compiled(job: Job, model: nn.Module, folder: Path, *, resolution: int) -> nn.Module:
    """Writes the int8 model, its program and ``verify.json``, as the stage ``export`` does; returns ``model``."""
    spec = ExportSpec(model, folder, resolution, {}, INT8_DROP)
    recipe = job.recipe
    settings = ExportSettings(recipe.measure.threads, recipe.collect.calibration_images, list(recipe.targets))
    _, result = write_models(M4, spec, images=job.images, settings=settings)
    write_json(folder / "verify.json", result)
    return model


def best_measured(job: Job) -> dict[str, ofa.Subnet]:
    """The best measured network for each target; of equal accuracies that with the least RAM."""
    space = job.recipe.space
    codes, accuracies = subnet_csv.read(job.folder / "accuracy.csv", space)
    known = dict(zip(map(space.decode, codes), accuracies.tolist(), strict=True))
    for name in job.recipe.targets:
        for candidate in read_json(job.folder / "search" / f"{name}.json")["candidates"]:
            if "accuracy" in candidate["measured"]:
                known[ofa.Subnet.from_dict(candidate["subnet"])] = candidate["measured"]["accuracy"]
    best = {}
    for name, target in job.recipe.targets.items():
        table = CostTable.load(job.folder / "costs" / f"{name}.sram.json", environment=environment(M4, threads=1))
        bytes_of = dict(zip(known, table.predict(np.stack([space.encode(subnet) for subnet in known])), strict=True))
        inside = [subnet for subnet in known if bytes_of[subnet] <= target.limits[0].value]
        best[name] = max(inside, key=lambda subnet: (known[subnet], -bytes_of[subnet]))
    return best


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
    job = Job(load_run_recipe(run), run)
    rows = []
    for name in job.recipe.targets:
        folder = run / "models" / name
        subnet = ofa.Subnet.from_dict(read_json(folder / "subnet.json")["subnet"])
        rows.append(row(job, f"{name}, search", ofa.load_subnet(folder), folder, resolution=subnet.resolution))
    full = job.extract_calibrated(job.recipe.space.largest).eval()
    done = set()
    for name, subnet in best_measured(job).items():
        if subnet in done:
            continue
        done.add(subnet)
        size = subnet.resolution
        for way in ("best measured", "best measured, fine-tuned"):
            model, folder = job.extract_calibrated(subnet), run / re.sub(r"\W+", "_", way) / name
            if way.endswith("fine-tuned"):
                train_alone(job, model, **FINETUNE, resolution=size, teacher=full)
            rows.append(
                row(job, f"{name}, {way}", compiled(job, model, folder, resolution=size), folder, resolution=size)
            )
    for name in networks:
        rows.append(row(job, name, *hand_made(job, name), resolution=job.recipe.space.resolutions[-1]))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    features = commands.add_parser("features", help="write the pictures that the recipe reads")
    features.add_argument("source", type=Path, help="folder of fsdd.npz")
    features.add_argument("folder", type=Path)
    features.add_argument("--copies", type=int, default=3, help="changed copies of each training recording")
    scored = commands.add_parser("results", help="train and score hand-made networks beside a run's")
    scored.add_argument("run", type=Path)
    scored.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS), help="hand-made ones")
    chosen = parser.parse_args()
    if chosen.command == "features":
        print(write_features(chosen.source, chosen.folder, copies=chosen.copies))
        return
    rows = results(chosen.run, chosen.networks)
    write_json(chosen.run / "fsdd_rows.json", rows)
    print(table(rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
