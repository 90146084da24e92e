"""CIFAR-10 as arrays, and the space, augmentation and metrics of the experiments on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ofa.predictors.metrics import top1
from ofa.supernet import families
from ofa.supernet.calibration import calibrate
from ofa.supernet.space import SearchSpace
from ofa.supernet.training.step import resize

CLASSES = 10
_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_PAD = 4
_CALIBRATION_IMAGES = 2000
_EVALUATION_BATCH = 500

# The preset for small images at the upper half of its resolutions: 2,187,000 networks of 0.3 to 4.8 million MACs.
SPACE = SearchSpace.from_dict({**families.presets()["tiny_mbv3"], "resolutions": [24, 28, 32]})


class Cifar10:
    """Training images (the first ``images`` of a fixed shuffle) and the whole test split, in memory as uint8.

    ``folder`` holds sheets of 50 x 50 tiles, ``train_*.webp`` and ``test_*.webp``, and ``labels.npz``.
    """

    def __init__(self, folder: Path, *, images: int, seed: int) -> None:
        labels = np.load(folder / "labels.npz")
        order = np.random.default_rng(0).permutation(len(labels["y_train"]))[:images]
        self.train, self.labels = _sheets(folder, "train")[order], labels["y_train"][order].astype(np.int64)
        self.test = torch.from_numpy(_sheets(folder, "test"))
        self.test_labels = torch.from_numpy(labels["y_test"].astype(np.int64))
        self._seed = seed

    def batches(self, epoch: int, *, size: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled uint8 batches; each image padded by 4, cut to 32 at random and mirrored half of the time."""
        rng = np.random.default_rng([self._seed, epoch])
        n, side = len(self.train), self.train.shape[-1]
        order = rng.permutation(n)
        tops, lefts = rng.integers(0, 2 * _PAD + 1, size=(2, n))
        mirrored = rng.random(n) < 0.5
        for step in range(start, n // size):
            rows = order[step * size : (step + 1) * size]
            padded = np.pad(self.train[rows], [(0, 0), (0, 0), (_PAD, _PAD), (_PAD, _PAD)])
            windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))
            cut = windows[np.arange(size), :, tops[rows], lefts[rows]]
            cut = np.where(mirrored[rows, None, None, None], cut[..., ::-1], cut)
            yield torch.from_numpy(np.ascontiguousarray(cut)), torch.from_numpy(self.labels[rows])

    def test_accuracy(self, model: nn.Module, resolution: int, *, images: int | None = None) -> float:
        """Top-1 accuracy of a calibrated copy of this network, on the first ``images`` of the test split."""
        calibrate(model, (prepare_at(batch, resolution) for batch in self._calibration()))
        test, labels = self.test[:images], self.test_labels[:images]
        return top1(
            model.eval(),
            (
                (prepare_at(test[i : i + _EVALUATION_BATCH], resolution), labels[i : i + _EVALUATION_BATCH])
                for i in range(0, len(test), _EVALUATION_BATCH)
            ),
        )

    def _calibration(self) -> list[Tensor]:
        return list(torch.from_numpy(self.train[:_CALIBRATION_IMAGES]).split(_EVALUATION_BATCH))


def prepare(images: Tensor) -> Tensor:
    """uint8 to normalised floats, channels_last."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (_MEAN, _STD))
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255).sub_(mean).div_(std)


def prepare_at(images: Tensor, resolution: int) -> Tensor:
    return resize(prepare(images), resolution)


def _sheets(folder: Path, split: str) -> np.ndarray:
    """All images of a split ``(n, 3, 32, 32)`` uint8."""
    paths = sorted(folder.glob(f"{split}_*.webp"))
    if not paths:
        raise SystemExit(f"{folder} has no {split}_*.webp; give the folder of CIFAR-10 sheets")
    sheets = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    tiles = [sheet.reshape(50, 32, 50, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32) for sheet in sheets]
    return np.concatenate(tiles)
