"""CIFAR-10 and Fashion-MNIST, 32 x 32 pixels, on the device: for trainings that must not wait for images."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from pretrained_images import read_cifar10
from torch import Tensor
from torch.nn import functional as F

SPLITS = ("train", "val", "test")
SIDE, PAD, VALIDATION = 32, 4, 5000
Arrays = dict[str, np.ndarray]  # SPLIT: images (n, channels, 32, 32), uint8; SPLIT_labels: (n,)


def cifar10(folder: Path) -> Arrays:
    """Sheets of 2,500 images; 5,000 of the training images are for validation."""
    arrays = read_cifar10(folder)
    moved = VALIDATION - len(arrays["val"])
    for key in ("val", "val_labels"):
        of_train = key.replace("val", "train")
        arrays[key] = np.concatenate([arrays[key], arrays[of_train][:moved]])
        arrays[of_train] = arrays[of_train][moved:]
    return arrays


def fashion_mnist(folder: Path) -> Arrays:
    """The four published files, 28 x 28 pixels with two black ones around them; 5,000 are for validation."""
    arrays: Arrays = {}
    for split, name in (("train", "train"), ("test", "t10k")):
        images = _idx(folder / f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
        arrays[split] = np.pad(images, [(0, 0), (0, 0), (2, 2), (2, 2)])
        arrays[f"{split}_labels"] = _idx(folder / f"{name}-labels-idx1-ubyte.gz", 8)
    order = np.random.default_rng(0).permutation(len(arrays["train"]))
    for key in ("train", "train_labels"):
        shuffled = arrays[key][order]
        arrays[key.replace("train", "val")], arrays[key] = shuffled[:VALIDATION], shuffled[VALIDATION:]
    return arrays


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


READERS: dict[str, Callable[[Path], Arrays]] = {"cifar10": cifar10, "fashion_mnist": fashion_mnist}


class SmallImages:
    """Images and labels of three splits on ``device``; normalised by the training images' mean and deviation."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        self.images = {split: torch.from_numpy(arrays[split].copy()).to(device) for split in SPLITS}
        self.labels = {
            split: torch.from_numpy(arrays[f"{split}_labels"].astype(np.int64)).to(device) for split in SPLITS
        }
        self.device, self.num_classes = device, int(arrays["train_labels"].max()) + 1
        self.in_chans = self.images["train"].shape[1]
        some = self.images["train"][:5000].double().transpose(0, 1).flatten(1)
        self.mean, self.std = (values.float().view(-1, 1, 1) for values in (some.mean(1), some.std(1)))

    def steps(self, batch_size: int) -> int:
        """Of one epoch; the last images that fill no batch are left out."""
        return len(self.images["train"]) // batch_size

    def train_batches(self, epoch: int, start: int, *, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled uint8 batches; each image padded by 4, cut to 32 at random and mirrored half of the time."""
        rng = np.random.default_rng([seed, epoch])
        images, labels = self.images["train"], self.labels["train"]
        draws = np.stack([rng.permutation(len(images)), *rng.integers(0, 2 * PAD + 1, size=(2, len(images)))])
        order, tops, lefts = torch.from_numpy(draws).to(self.device)
        mirrored = torch.from_numpy(rng.random(len(images)) < 0.5).to(self.device)
        across = torch.arange(SIDE, device=self.device)
        channel = torch.arange(images.shape[1], device=self.device).view(1, -1, 1, 1)
        for step in range(start, self.steps(size)):
            rows = slice(step * size, (step + 1) * size)
            padded = F.pad(images[order[rows]], [PAD] * 4)
            y = tops[rows, None] + across
            x = lefts[rows, None] + torch.where(mirrored[rows, None], SIDE - 1 - across, across)
            number = torch.arange(len(padded), device=self.device).view(-1, 1, 1, 1)
            yield padded[number, channel, y[:, None, :, None], x[:, None, None, :]], labels[order[rows]]

    def batches(self, split: str, resolution: int, *, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole images at ``resolution``, normalised, with labels."""
        images, labels = self.images[split][:limit], self.labels[split][:limit]
        for some, theirs in zip(images.split(1000), labels.split(1000), strict=True):
            sized = some.float()
            if resolution != SIDE:
                sized = F.interpolate(sized, size=(resolution, resolution), mode="bilinear", antialias=True)
            yield self.normalize(sized), theirs

    def normalize(self, images: Tensor) -> Tensor:
        return images.float().sub(self.mean).div(self.std).contiguous(memory_format=torch.channels_last)
