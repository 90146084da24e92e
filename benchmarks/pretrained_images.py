"""Small labelled images for ``benchmarks/pretrained.py``: read once, kept on the device, augmented there in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

SPLITS = ("train", "val", "test")
Arrays = dict[str, np.ndarray]  # SPLIT: images (n, 3, side, side), uint8; SPLIT_labels: (n,)


def read_cifar10(folder: Path) -> Arrays:
    """Of every sheet of 2,500 that is there; 1,000 of the training images are for validation."""
    labels = np.load(folder / "labels.npz")
    arrays = {}
    for split in ("train", "test"):
        paths = sorted(folder.glob(f"{split}_*.webp"))
        sheets = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
        tiles = [sheet.reshape(50, 32, 50, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32) for sheet in sheets]
        numbers = [2500 * int(path.stem.split("_")[1]) + np.arange(2500) for path in paths]
        arrays |= {split: np.concatenate(tiles), f"{split}_labels": labels[f"y_{split}"][np.concatenate(numbers)]}
    order = np.random.default_rng(0).permutation(len(arrays["train"]))
    images, classes = arrays["train"][order], arrays["train_labels"][order]
    arrays |= {"val": images[:1000], "val_labels": classes[:1000]}
    return arrays | {"train": images[1000:], "train_labels": classes[1000:]}


def read_folder(folder: Path, *, side: int = 128) -> Arrays:
    """``train/``, ``val/`` and ``test/`` with a folder a class; the centre square of each image, at ``side`` pixels."""
    arrays = {}
    names = sorted(path.name for path in (folder / "train").iterdir())
    for split in SPLITS:
        paths = [
            (path, number) for number, name in enumerate(names) for path in sorted((folder / split / name).iterdir())
        ]
        arrays[split] = np.stack([_square(path, side) for path, _ in paths]).transpose(0, 3, 1, 2)
        arrays[f"{split}_labels"] = np.array([number for _, number in paths])
    return arrays


def _square(path: Path, side: int) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=3))


READERS: dict[str, Callable[[Path], Arrays]] = {"cifar10": read_cifar10, "trashnet": read_folder}


class Images:
    """Images and labels of three splits on ``device``."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        self.images = {split: torch.from_numpy(arrays[split]).to(device) for split in SPLITS}
        self.labels = {
            split: torch.from_numpy(arrays[f"{split}_labels"].astype(np.int64)).to(device) for split in SPLITS
        }
        self.device, self.num_classes = device, int(arrays["train_labels"].max()) + 1

    def steps(self, batch_size: int) -> int:
        """Of one epoch; the last images that fill no batch are left out."""
        return len(self.images["train"]) // batch_size

    def train_batches(
        self, epoch: int, start: int, *, batch_size: int, side: int, seed: int, smallest_crop: float = 0.4
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled batches of floats in 0..255: random squares of the image, mirrored half the time."""
        rng = np.random.default_rng([seed, epoch])
        n = len(self.images["train"])
        order = torch.from_numpy(rng.permutation(n)).to(self.device)
        share = np.sqrt(rng.uniform(smallest_crop, 1, size=n))
        across, down = rng.uniform(-1, 1, size=(2, n)) * (1 - share)
        mirror = rng.choice([-1, 1], size=n)
        zero = np.zeros(n)
        rows = [share * mirror, zero, across, zero, share, down]
        theta = torch.from_numpy(np.stack(rows, axis=1).reshape(n, 2, 3).astype(np.float32)).to(self.device)
        for step in range(start, self.steps(batch_size)):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            images = self.images["train"][chosen].float()
            grid = F.affine_grid(theta[chosen], [len(chosen), 3, side, side], align_corners=False)
            crops = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
            yield crops, self.labels["train"][chosen]

    def batches(self, split: str, resolution: int, *, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole images at ``resolution``, normalised, with labels."""
        for images, labels in zip(
            self.images[split][:limit].split(500), self.labels[split][:limit].split(500), strict=True
        ):
            yield normalize(shrunk(images.float(), resolution)), labels


def shrunk(images: Tensor, resolution: int) -> Tensor:
    return F.interpolate(images, size=(resolution, resolution), mode="bilinear", antialias=True)


def normalize(images: Tensor) -> Tensor:
    """As EfficientNet-Lite's weights expect: 0..255 to -1..1; channels_last."""
    return images.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
