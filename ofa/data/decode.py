"""Decodes image files in the data loader's workers: with private random states, and silent on Ctrl-C."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ofa.data.image_file import UnreadableImage
from ofa.data.preprocess import middle
from ofa.data.readers.source import Split


@dataclass(frozen=True)
class Batch:
    """A decoded batch.

    Attributes:
        images: uint8 ``(b, channels, r, r)``.
        labels: int64 ``(b,)``.
        broken: path and reason of each image that cannot be read, and is left out.
    """

    images: np.ndarray
    labels: np.ndarray
    broken: list[tuple[str, str]]


class Decode(Dataset):
    """Maps rows of a split to a decoded ``Batch``; ``seeds`` are those of each row's augmentation, or None.

    Batches hold arrays, because tensors would be sent through shared memory, of which a container has 64 MB.
    """

    def __init__(self, split: Split, mode: str, transform: Callable, seeds: np.ndarray | None) -> None:
        self.split, self.mode, self.transform, self.seeds = split, mode, transform, seeds

    def __getitem__(self, rows: np.ndarray) -> Batch:
        images, decoded, broken = [], [], []
        with _private_randomness():
            for row in rows:
                try:
                    image = self.split.open(row, self.mode)
                except UnreadableImage as error:
                    broken.append((str(self.split.path(row)), str(error)))
                    continue
                if self.seeds is not None:
                    _seed_everything(int(self.seeds[row]))
                images.append(self.transform(image).numpy())
                decoded.append(row)
        return Batch(np.stack(images) if images else np.empty(0, np.uint8), self.split.labels[decoded], broken)


def evaluation_pixels(image: Image.Image, *, resolution: int, crop_pct: float) -> torch.Tensor:
    """uint8 ``(channels, resolution, resolution)``, prepared as model cards tell users to do."""
    pixels = np.array(middle(image, resolution, crop_pct)).reshape(resolution, resolution, -1)
    return torch.from_numpy(pixels.transpose(2, 0, 1))


@contextmanager
def _private_randomness() -> Iterator[None]:
    """Restores the global generators of ``random``, numpy and torch, from which timm's transforms draw."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    # torch.manual_seed would also seed the GPU's generators, which are not restored.
    torch.default_generator.manual_seed(seed)


def ignore_interrupt(_: int) -> None:
    """Makes a worker ignore Ctrl-C, which every process of a terminal gets. The main process stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # instead of the handler that training installed


@contextmanager
def block_sigint() -> Iterator[None]:
    """Blocks SIGINT while workers start. They inherit the mask, so that an early Ctrl-C prints no traceback."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def identity_collate(batch: Any) -> Any:
    """The loader's ``collate_fn`` for a dataset that gives whole batches."""
    return batch
