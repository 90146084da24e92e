"""Every method of differentiable search on NAS-Bench-201: what it finds on a part of CIFAR-10, by the published table.

    python benchmarks/nasbench201_search.py DATA OUT [--seeds 0 1 2] [--only METHOD ...]

DATA holds ``cifar10/`` and ``nas/nasbench201_200epochs.csv``. Rows go to OUT/rows.jsonl, one a method and seed; those
that are there are not made again. ``python benchmarks/nasbench201_tables.py OUT`` prints the tables.

A search sees 16 x 16 pixels of 5,120 training images, half of them for the architecture parameters, which also choose
in the baselines; a supernet of 8 channels and one cell a stage (P-DARTS: two in its last stage); 480 steps of 64
images. Methods are as ``ofa.search`` runs them: as published, but for the parameters' learning rate, which is larger in
a search of few steps (``methods.shortened``). Nothing sees test images.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pretrained_images import read_cifar10
from torch import Tensor, nn
from torch.nn import functional as F

import ofa
from ofa.supernet.cells.stages import staged
from ofa.supernet.files import write_atomic
from ofa.supernet.relaxation.methods import METHODS, Method, shortened
from ofa.supernet.relaxation.pairs import paired
from ofa.supernet.relaxation.search import search_architecture
from ofa.supernet.threads import fixed

HALF, SIDE, BATCH, EPOCHS = 2560, 16, 64, 12
STEPS = HALF // BATCH
SPACE = ofa.CellSpace.preset("nasbench201", channels=8, cells=1, resolution=SIDE)
TABLE = "nasbench201_200epochs.csv"
COLUMNS = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "imagenet16": "ImageNet"}


class Half(NamedTuple):
    """Normalised images ``(n, 3, SIDE, SIDE)`` and labels."""

    images: Tensor
    labels: Tensor

    def batches(self, seed: int) -> Callable[[int, int], Iterator[tuple[Tensor, Tensor]]]:
        """Shuffled, and half of the images mirrored, anew in each epoch."""

        def of_epoch(epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
            rng = np.random.default_rng([seed, epoch])
            order, mirrored = rng.permutation(len(self.labels)), rng.random(len(self.labels)) < 0.5
            for step in range(start, len(self.labels) // BATCH):
                rows = order[step * BATCH : (step + 1) * BATCH]
                flipped = torch.from_numpy(mirrored[rows])[:, None, None, None]
                images = self.images[rows]
                yield torch.where(flipped, images.flip(3), images), self.labels[rows]

        return of_epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[*BASELINES, *METHODS])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = arguments.out / "rows.jsonl"
    done = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    truth = read_truth(arguments.data / "nas" / TABLE)
    halves = read_halves(arguments.data / "cifar10")
    for seed in arguments.seeds:
        for name in arguments.only:
            if (name, seed) in {(row["method"], row["seed"]) for row in done}:
                continue
            start = time.process_time()
            found = BASELINES[name](seed, *halves) if name in BASELINES else search(METHODS[name], seed, *halves)
            seconds = time.process_time() - start
            row = {"method": name, "seed": seed, "cpu_seconds": round(seconds, 1), **found, **truth[found["arch"]]}
            done.append(row)
            write_atomic(rows, "".join(json.dumps(each) + "\n" for each in done))
            print(row, flush=True)


def read_truth(path: Path) -> dict[str, dict[str, float]]:
    """By architecture: accuracy of 200 epochs on the three data sets, and its rank (1: the best) on CIFAR-10."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {
        row["ArchitectureString"]: {
            name: float(row[f"{column}TestAccuracy200Epochs"]) for name, column in COLUMNS.items()
        }
        for row in rows
    }
    order = sorted(found, key=lambda arch: -found[arch]["cifar10"])
    return {arch: {**found[arch], "rank": rank} for rank, arch in enumerate(order, start=1)}


def read_halves(folder: Path) -> tuple[Half, Half]:
    """Of the first training images at half their side: those for weights, and those for the architecture."""
    arrays = read_cifar10(folder)
    images = arrays["train"][: 2 * HALF].reshape(2 * HALF, 3, SIDE, 2, SIDE, 2).mean(axis=(3, 5)).astype(np.float32)
    mean, std = images.mean(axis=(0, 2, 3), keepdims=True), images.std(axis=(0, 2, 3), keepdims=True)
    images, labels = torch.from_numpy((images - mean) / std), torch.from_numpy(arrays["train_labels"][: 2 * HALF])
    halves = slice(None, HALF), slice(HALF, None)
    weights, architecture = (Half(images[rows], labels[rows].long()) for rows in halves)
    return weights, architecture


# -- methods ------------------------------------------------------------------------------------------------------


def search(method: Method, seed: int, weights: Half, architecture: Half) -> dict[str, Any]:
    """The network that a method derives, and the gap between the relaxed network and that one."""
    method = shortened(method, EPOCHS * STEPS)
    deepens = "stage_network" in method.needs
    space = SPACE.resized(cells=2 * SPACE.cells) if deepens else SPACE
    net = new_network(space, seed, partial=4 if "partial" in method.needs else 1)
    relaxed = ofa.Relaxed(net, relaxation=method.relaxation, seed=seed)
    figures: list[dict[str, Any]] = []
    searched = search_architecture(
        relaxed,
        method,
        paired(
            weights.batches(seed),
            architecture.batches(seed + 1000),
            steps_per_epoch=STEPS,
            architecture_steps=STEPS,
        ),
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        normalize=lambda images: images,
        stage_network=staged(space, seed=seed) if deepens else None,
        on_epoch=figures.append,
        threads=fixed(),
        progress=False,
    )
    subnet = relaxed.derive()
    model = relaxed.net.extract(subnet)
    gap = {"relaxed": accuracy(relaxed, architecture), "inherited": accuracy(model, architecture)}
    gap["calibrated"] = accuracy(ofa.calibrate(model, weights.images), architecture)
    train(model, weights, steps=200, seed=seed)
    gap["finetuned"] = accuracy(model, architecture)
    return {
        "arch": subnet.arch,
        "gap": gap,
        "epochs": len(figures),
        "entropy": round(figures[-1]["entropy"], 4),
        "ended": searched.ended,
        "collapsed": list(searched.collapsed),
    }


def new_network(space: ofa.CellSpace, seed: int, **options: Any) -> ofa.CellNetwork:
    torch.manual_seed(seed)
    return ofa.CellNetwork(space, **options)


# -- baselines ----------------------------------------------------------------------------------------------------


def random_search(seed: int, weights: Half, architecture: Half) -> dict[str, Any]:
    """The best of ten networks, each trained for 300 steps from new weights."""
    scores = []
    subnets = _samples(seed, 10)
    for subnet in subnets:
        torch.manual_seed(seed)
        model = ofa.CellModel(SPACE, subnet)
        train(model, weights, steps=300, seed=seed)
        scores.append(accuracy(model, architecture))
    return {"arch": subnets[int(np.argmax(scores))].arch, "scores": scores}


def weight_sharing(seed: int, weights: Half, architecture: Half) -> dict[str, Any]:
    """The best of 100 networks by the weights of a supernet that ran a random network in each of 1,500 steps."""
    net = new_network(SPACE, seed)
    paths = iter(_samples(seed + 1, 1500))
    train(net, weights, steps=1500, seed=seed, lr=0.025, before_step=lambda: net.activate(next(paths)))
    subnets = _samples(seed, 100)
    few = Half(architecture.images[:1280], architecture.labels[:1280])
    scores = []
    for subnet in subnets:
        model = ofa.calibrate(net.extract(subnet), weights.images[:512])
        scores.append(accuracy(model, few))
    return {"arch": subnets[int(np.argmax(scores))].arch, "best_score": max(scores)}


BASELINES: dict[str, Callable[[int, Half, Half], dict[str, Any]]] = {
    "random_search": random_search,
    "weight_sharing": weight_sharing,
}


def _samples(seed: int, count: int) -> list[ofa.CellSubnet]:
    return [SPACE.decode(code) for code in SPACE.sample(count, np.random.default_rng([seed, 201]))]


# -- training and scoring -----------------------------------------------------------------------------------------


def train(
    model: nn.Module,
    images: Half,
    *,
    steps: int,
    seed: int,
    lr: float = 0.05,
    before_step: Callable[[], Any] = lambda: None,
) -> None:
    """By momentum with a learning rate that falls as a cosine."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    batches = images.batches(seed + 2000)
    for step in range(steps):
        epoch, start = divmod(step, STEPS)
        if start == 0:
            of_epoch = batches(epoch, 0)
        before_step()
        x, labels = next(of_epoch)
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, images: Half) -> float:
    """In percent, in eval mode."""
    model.eval()
    right = sum(
        int((model(x).argmax(1) == labels).sum())
        for x, labels in zip(images.images.split(256), images.labels.split(256), strict=True)
    )
    return round(100 * right / len(images.labels), 2)


if __name__ == "__main__":
    main()
