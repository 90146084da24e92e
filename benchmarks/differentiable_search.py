"""Differentiable search against evolution on one once-for-all supernet, at equal compute, on Fashion-MNIST.

    python benchmarks/differentiable_search.py --folder FOLDER [--seeds 3]

For each seed a supernet is trained on 5,000 images. Evolution measures the accuracy of 200 networks, learns to
predict it, and searches; "collected" is the best of these networks that is inside the limit. Each differentiable
method then gets as many processor seconds: its epochs are counted from the time of a short search. The three best
networks of each are measured on the validation images, and the best of them trains further.
Seconds are of the processor, in one thread, so that a busy machine changes little. What is done is kept in FOLDER; the
same command goes on, and prints the table of ``benchmarks/results/differentiable_search.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from schedule_data import read_fashion
from torch import Tensor, nn

import ofa
from ofa.predictors.costs.latency.table import time_subnets
from ofa.predictors.metrics import scores, top1
from ofa.predictors.sampling import stratified_sample
from ofa.supernet.training.finetune import finetune
from ofa.supernet.training.opened import save_supernet
from ofa.supernet.training.phases import SCHEDULES
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.step import resize
from ofa.supernet.training.weight_sharing import train_supernet

FASHION = Path("/usr/share/datasets/fashion-mnist")
RESOLUTIONS, BATCH = [16, 20, 24], 64
TRAINING, VALIDATION, CALIBRATION = 5000, 1000, 512
EPOCHS, LR, FINETUNING, FINETUNING_LR = 12, 0.1, 2, 0.04
COLLECTED, CANDIDATES, LIMIT = 200, 3, 0.4
METHODS = ("drnas", "gdas", "darts")


class Images:
    """Normalised images at the space's largest resolution, and the ones of each split at any other."""

    def __init__(self) -> None:
        arrays = read_fashion(FASHION)
        pixels = torch.from_numpy(arrays["train"][:TRAINING]).float() / 255
        self.mean, self.std = float(pixels.mean()), float(pixels.std())
        validation = slice(TRAINING, TRAINING + VALIDATION)
        self.images = {
            "train": self._normalised(arrays["train"][:TRAINING]),
            "validation": self._normalised(arrays["train"][validation]),
            "test": self._normalised(arrays["test"]),
        }
        labels = {"train": arrays["train_labels"][:TRAINING], "validation": arrays["train_labels"][validation]}
        labels["test"] = arrays["test_labels"]
        self.labels = {name: torch.from_numpy(values.astype(np.int64)) for name, values in labels.items()}

    def _normalised(self, pixels: np.ndarray) -> Tensor:
        images = (torch.from_numpy(pixels.copy()).float() / 255 - self.mean) / self.std
        return resize(images, RESOLUTIONS[-1])

    def batches(self, split: str, side: int, *, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.labels[split][:limit]), 250):
            rows = slice(start, min(start + 250, limit or start + 250))
            yield resize(self.images[split][rows], side), self.labels[split][rows]

    def training(self, seed: int, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.random.default_rng([seed, epoch]).permutation(TRAINING)
        for step in range(start, TRAINING // BATCH):
            rows = order[step * BATCH : (step + 1) * BATCH]
            yield self.images["train"][rows], self.labels["train"][rows]


def same(images: Tensor) -> Tensor:
    """The images are normalised already."""
    return images


class Study:
    """One seed: its supernet, and what is found on it."""

    def __init__(self, folder: Path, images: Images, seed: int) -> None:
        self.images, self.seed = images, seed
        preset = ofa.SearchSpace.preset("tiny_mbv3").to_dict()
        self.space = ofa.SearchSpace.from_dict({**preset, "resolutions": RESOLUTIONS})
        self.kwargs = {"num_classes": 10, "in_chans": 1}
        self.macs = ofa.CostTable.macs(self.space, **self.kwargs)
        largest = float(self.macs.predict(self.space.encode(self.space.largest)[None])[0])
        self.limits = {self.macs: LIMIT * largest}
        self.net = self._supernet(folder / f"supernet-{seed}.safetensors")

    def _supernet(self, path: Path) -> ofa.Supernet:
        torch.manual_seed(self.seed)
        net = ofa.Supernet(self.space, **self.kwargs)
        if path.exists():
            from safetensors.torch import load_file

            net.load_state_dict(load_file(path))
            return net.eval()
        train_supernet(
            net,
            SCHEDULES["auto"](self.space, epochs=EPOCHS, lr=LR),
            lambda epoch, start: self.images.training(self.seed, epoch, start),
            steps_per_epoch=TRAINING // BATCH,
            normalize=same,
            settings=Settings(seed=self.seed),
            progress=False,
        )
        save_supernet(net, path)
        return net.eval()

    def network(self, subnet: Any) -> nn.Module:
        """Extracted with the supernet's weights, and calibrated."""
        calibration = self.images.batches("train", subnet.resolution, limit=CALIBRATION)
        return ofa.calibrate(self.net.extract(subnet), (batch for batch, _ in calibration))

    def measured(self, subnet: Any) -> Any:
        return scores(self.network(subnet), self.images.batches("validation", subnet.resolution))

    def evolution(self) -> tuple[list[Any], dict[str, Any]]:
        codes = stratified_sample(self.space, COLLECTED, self.macs, np.random.default_rng([self.seed, 2]))
        found = [self.measured(self.space.decode(code)) for code in codes]
        accuracy, smoothed = (
            np.array([getattr(one, name) for one in found]) for name in ("accuracy", "smoothed_accuracy")
        )
        predictor = ofa.AccuracyPredictor(self.space, kind="gp", seed=self.seed).fit(codes, accuracy, signal=smoothed)
        inside = np.flatnonzero(self.macs.predict(codes) <= next(iter(self.limits.values())))
        best = self.space.decode(codes[inside[smoothed[inside].argmax()]])
        top = ofa.search(self.space, predictor, limits=self.limits, seed=self.seed).top
        return top[:CANDIDATES], {"collected": best.to_dict()}

    def differentiable(self, method: str, seconds: float) -> tuple[list[Any], dict[str, Any]]:
        """``seconds`` of the processor, as nearly as whole epochs allow."""
        data = {"images": self.images.images["train"], "labels": self.images.labels["train"]}
        common = {"limits": self.limits, "strategy": "differentiable", "net": self.net, "method": method, "lr": 0.04}
        started = time.process_time()
        ofa.search(self.space, None, **common, **data, epochs=2, seed=self.seed)
        epochs = max(2, round(2 * seconds / (time.process_time() - started)))
        result = ofa.search(self.space, None, **common, **data, epochs=epochs, seed=self.seed)
        last = result.history[-1]
        return result.top[:CANDIDATES], {
            "epochs": epochs,
            "entropy": last["entropy"],
            "moved": last["moved"],
            "collapsed": last["collapsed"],
            "own_accuracy": result.accuracy,
        }

    def finish(self, networks: list[Any]) -> dict[str, Any]:
        """The best of the networks on the validation images, measured before and after training further."""
        best = max(networks, key=lambda subnet: self.measured(subnet).smoothed_accuracy)
        model, teacher = self.network(best), self.network(self.space.largest)
        before = {split: top1(model, self.images.batches(split, best.resolution)) for split in ("validation", "test")}
        finetune(
            model,
            teacher,
            lambda epoch, start: self.images.training(self.seed, EPOCHS + epoch, start),
            epochs=FINETUNING,
            steps_per_epoch=TRAINING // BATCH,
            lr=FINETUNING_LR,
            resolution=best.resolution,
            teacher_resolution=RESOLUTIONS[-1],
            normalize=same,
            settings=Settings(seed=self.seed),
            progress=False,
        )
        after = {split: top1(model, self.images.batches(split, best.resolution)) for split in ("validation", "test")}
        return {
            "id": best.id,
            "subnet": best.to_dict(),
            "macs": float(self.macs.predict(self.space.encode(best)[None])[0]),
            "before": before,
            "after": after,
        }


def row(study: Study, method: str, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a method finds, and its processor seconds until its networks were proposed."""
    started = time.process_time()
    if method == "evolution":
        networks, more = study.evolution()
    elif method == "collected":
        networks, more = [ofa.Subnet.from_dict(known["evolution"]["collected"])], {}
    else:
        networks, more = study.differentiable(method, known["evolution"]["seconds"])
    # A first short search tells how long an epoch takes; it is no part of the method.
    seconds = time.process_time() - started
    if "epochs" in more:
        seconds *= more["epochs"] / (more["epochs"] + 2)
    return {"seed": study.seed, "method": method, "seconds": seconds, **more, **study.finish(networks)}


def table(rows: list[dict[str, Any]], times: dict[str, float]) -> str:
    lines = [
        "| method | seeds | epochs | seconds | MACs | latency ms | validation % | test % | validation % fine-tuned | "
        "test % fine-tuned | entropy |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(one["method"] for one in rows):
        own = [one for one in rows if one["method"] == method]

        def shown(values: list[float], digits: int = 1) -> str:
            mean, spread = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else math.nan
            return f"{mean:.{digits}f}" + ("" if math.isnan(spread) else f" +- {spread:.{digits}f}")

        accuracies = [
            shown([100 * one[when][split] for one in own])
            for when in ("before", "after")
            for split in ("validation", "test")
        ]
        epochs = shown([one["epochs"] for one in own], 0) if "epochs" in own[0] else "-"
        entropy = shown([one["entropy"] for one in own], 2) if "entropy" in own[0] else "-"
        macs = f"{np.mean([one['macs'] for one in own]) / 1e6:.2f} M"
        latency = shown([times[one["id"]] for one in own], 3) if times else "-"
        parts = [
            method,
            str(len(own)),
            epochs,
            shown([one["seconds"] for one in own], 0),
            macs,
            latency,
            *accuracies,
            entropy,
        ]
        lines.append(f"| {' | '.join(parts)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    path = arguments.folder / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    images = Images()
    for seed in range(arguments.seeds):
        known = {one["method"]: one for one in rows if one["seed"] == seed}
        study = Study(arguments.folder, images, seed)
        for method in ("evolution", "collected", *arguments.methods):
            if method not in known:
                known[method] = row(study, method, known)
                rows.append(known[method])
                with path.open("a") as file:
                    file.write(json.dumps(known[method]) + "\n")
                print(
                    json.dumps(
                        {key: value for key, value in known[method].items() if key not in ("subnet", "collected")}
                    ),
                    flush=True,
                )
    # All networks in turn, so that what slows the machine down slows all of them.
    subnets = {one["id"]: ofa.Subnet.from_dict(one["subnet"]) for one in rows}
    measured = time_subnets(study.space, list(subnets.values()), **study.kwargs, rounds=30)
    print(table(rows, dict(zip(subnets, measured.tolist(), strict=True))))


if __name__ == "__main__":
    main()
