"""Small labelled data sets for ``schedule_trials.py``: read once, kept on the device, augmented there in batches."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from speech_features import SOUNDS, Recordings, picture
from torch import Tensor
from torch.nn import functional as F

Arrays = dict[str, np.ndarray]  # SPLIT: images (n, channels, side, side), uint8; SPLIT_labels: (n,)
SIDE = 32
_TEST_IMAGES = 2000
_EVALUATED = 500  # images at once
_CALIBRATED = 1000


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, at which sides networks see it, and how far and whether its images are changed."""

    read: Callable[[Path], Arrays]
    resolutions: tuple[int, ...]
    shift: int
    mirror: bool


def read_cifar10(folder: Path) -> Arrays:
    labels = np.load(folder / "labels.npz")
    order = {"train": np.random.default_rng(0).permutation(50_000), "test": np.arange(_TEST_IMAGES)}
    arrays = {}
    for split, rows in order.items():
        sheets = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob(f"{split}_*.webp"))]
        tiles = [sheet.reshape(50, 32, 50, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32) for sheet in sheets]
        arrays |= {split: np.concatenate(tiles)[rows], f"{split}_labels": labels[f"y_{split}"][rows]}
    return arrays


def read_fashion(folder: Path) -> Arrays:
    """The four gzipped idx files, padded to 32 pixels."""
    arrays = {}
    for split, name in {"train": "train", "test": "t10k"}.items():
        pixels = np.frombuffer(gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes()), np.uint8)
        labels = np.frombuffer(gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes()), np.uint8)
        images = np.pad(pixels[16:].reshape(-1, 1, 28, 28), [(0, 0), (0, 0), (2, 2), (2, 2)])
        arrays |= {split: images, f"{split}_labels": labels[8:]}
    order = np.random.default_rng(0).permutation(len(arrays["train"]))
    test = {name: arrays[name][:_TEST_IMAGES] for name in ("test", "test_labels")}
    return {name: arrays[name][order] for name in ("train", "train_labels")} | test


def read_keywords(folder: Path) -> Arrays:
    """Keywords as pictures of 32 mel bands by 32 frames; validation and test clips are the test images."""
    recordings, sound = Recordings.load(folder, "kws12"), SOUNDS["kws12"]
    labels, split = recordings.labels, recordings.splits("")
    pictures = np.stack([picture(recordings[index], sound) for index in range(len(labels))])[:, None]
    order = np.random.default_rng(0).permutation(len(labels))
    rows = {"train": order[split[order] == "train"], "test": order[split[order] != "train"]}
    return {name: pictures[own] for name, own in rows.items()} | {
        f"{name}_labels": labels[own] for name, own in rows.items()
    }


def read_digits(folder: Path) -> Arrays:
    """scikit-learn's, four times as large; a quarter is for test. ``folder`` is not looked at."""
    digits = load_digits()
    images = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8).repeat(4, axis=2).repeat(4, axis=3)
    order = np.random.default_rng(0).permutation(len(images))
    rows = {"train": order[450:], "test": order[:450]}
    return {name: images[own] for name, own in rows.items()} | {
        f"{name}_labels": digits.target[own] for name, own in rows.items()
    }


SOURCES = {
    "cifar10": Source(read_cifar10, (16, 20, 24), shift=4, mirror=True),
    "cifar10_32": Source(read_cifar10, (24, 28, 32), shift=4, mirror=True),
    "fashion": Source(read_fashion, (16, 20, 24), shift=2, mirror=True),
    "keywords": Source(read_keywords, (16, 20, 24), shift=3, mirror=False),
    "digits": Source(read_digits, (12, 16, 20), shift=3, mirror=False),
}


class Images:
    """The first ``images`` training images (0: all) and the test images of a source, on ``device``."""

    def __init__(self, arrays: Arrays, source: Source, *, images: int, device: torch.device) -> None:
        train = {name: arrays[name][: images or None] for name in ("train", "train_labels")}
        given = train | {name: arrays[name] for name in ("test", "test_labels")}
        self._tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in given.items()
        }
        self._tensors |= {name: self._tensors[name].long() for name in ("train_labels", "test_labels")}
        self._source, self.device = source, device
        self.num_classes = int(arrays["train_labels"].max()) + 1
        self.channels = arrays["train"].shape[1]
        pixels = self._tensors["train"][:2000].float()
        self._mean, self._std = (value(pixels, dim=(0, 2, 3)).view(-1, 1, 1) for value in (torch.mean, torch.std))

    def __len__(self) -> int:
        return len(self._tensors["train"])

    def batches(self, step: int, count: int, *, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """``count`` batches from step ``step`` of the whole training on; images are shuffled after each pass over all.

        Each image is padded, cut at random, and mirrored half of the time where the source allows it.
        """
        per_pass = len(self) // size
        for number in range(step, step + count):
            rng = np.random.default_rng([seed, number // per_pass])
            order = rng.permutation(len(self))[number % per_pass * size :][:size]
            rows = torch.from_numpy(order).to(self.device)
            yield self._augmented(rows, np.random.default_rng([seed, 1, number])), self._tensors["train_labels"][rows]

    def _augmented(self, rows: Tensor, rng: np.random.Generator) -> Tensor:
        shift, n = self._source.shift, len(rows)
        padded = F.pad(self._tensors["train"][rows], (shift,) * 4)
        down, across = (torch.from_numpy(rng.integers(0, 2 * shift + 1, size=n)).to(self.device) for _ in range(2))
        along = torch.arange(SIDE, device=self.device).expand(n, SIDE)
        if self._source.mirror:
            mirrored = torch.from_numpy(rng.random(n) < 0.5).to(self.device)
            along = torch.where(mirrored[:, None], along.flip(1), along)
        lines = torch.arange(SIDE, device=self.device) + down[:, None]
        columns = along + across[:, None]
        picked = padded.permute(0, 2, 3, 1)[
            torch.arange(n, device=self.device)[:, None, None], lines[:, :, None], columns[:, None]
        ]
        return picked.permute(0, 3, 1, 2)

    def normalize(self, images: Tensor) -> Tensor:
        return (images.float() - self._mean).div(self._std).contiguous(memory_format=torch.channels_last)

    def calibration(self, resolution: int) -> Iterator[Tensor]:
        for images in self._tensors["train"][:_CALIBRATED].split(_EVALUATED):
            yield self._at(images, resolution)

    def test(self, resolution: int) -> Iterator[tuple[Tensor, Tensor]]:
        pairs = zip(
            self._tensors["test"].split(_EVALUATED), self._tensors["test_labels"].split(_EVALUATED), strict=True
        )
        for images, labels in pairs:
            yield self._at(images, resolution), labels

    def _at(self, images: Tensor, resolution: int) -> Tensor:
        size = (resolution, resolution)
        return F.interpolate(self.normalize(images), size=size, mode="bilinear", antialias=True)
