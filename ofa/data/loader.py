"""Batches of images for training, calibration and measuring, as uint8 tensors that are normalised on the device.

The pixels of an image depend only on the seed, the epoch and the image's index, not on global random state
nor on the number of workers. Evaluation resizes as deployment does: timm's evaluation transform on PIL
images (bilinear, antialiased).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ofa.data.augment import INTERPOLATION, augmentation, is_plain
from ofa.data.cache import BatchCache
from ofa.data.decode import Decode, block_sigint, evaluation_pixels, identity_collate, ignore_interrupt
from ofa.data.readers.source import Source, Split, without
from ofa.data.readers.splits import SPLIT_SEED, spread_order
from ofa.data.sources import open_source
from ofa.data.statistics import pixel_statistics
from ofa.errors import UserError
from ofa.supernet.training.distributed import own_share

if TYPE_CHECKING:
    from ofa.config.data import AugmentConfig, DataConfig

CACHE_BYTES = 512 * 2**20
STATISTICS_IMAGES = 1000
LOAD_BATCH = 256
_TRIAL_IMAGES, _TRIAL_SIDE = 200, 32


def open_data(
    config: DataConfig,
    *,
    resolution: int,
    seed: int,
    cache_bytes: int = CACHE_BYTES,
    left_out: Collection[str] = (),
) -> Data:
    """The data that a recipe's ``data:`` section names.

    Args:
        resolution: the largest of the space.
        left_out: paths in the data's folder of images that cannot be read, as ``ofa.data.read_images``
            lists them.

    Raises ``UserError`` when the data is missing, inconsistent or cannot be split.
    """
    return Data(
        without(open_source(config, resolution=resolution), left_out),
        left_out=len(left_out),
        channels=config.channels or (3 if config.folder is not None else 1),
        crop_pct=config.crop_pct or (0.875 if config.folder is not None else 1.0),
        augment=config.augment,
        resolution=resolution,
        seed=seed,
        workers=config.workers if config.folder is not None else 0,
        cache_bytes=cache_bytes,
    )


class Data:
    """Images in three splits: train, validation, test. Made by ``open_data``.

    Evaluation scales the shorter side to ``floor(resolution / crop_pct)`` and crops the centre, as timm does.

    Attributes:
        mean, std: per channel, of pixels in 0..1: ImageNet's for colour folders, otherwise those of up to
            1,000 training images.
        left_out: the number of images that were known to be unreadable.
        broken: path and reason of training images that turn out to be unreadable while training.
    """

    interpolation = INTERPOLATION

    def __init__(
        self,
        source: Source,
        *,
        left_out: int = 0,
        channels: int,
        crop_pct: float,
        augment: AugmentConfig,
        resolution: int,
        seed: int,
        workers: int,
        cache_bytes: int,
    ) -> None:
        self.classes = source.classes
        self.channels = channels
        self.crop_pct = crop_pct
        self.resolution = resolution
        self.left_out = left_out
        self.broken: dict[str, str] = {}
        self._source = source
        self._seed = seed
        self._workers = workers
        self._cache = BatchCache(cache_bytes)
        self.mean, self.std = self._statistics()
        self._recipe_augment = augment
        self._augment = augmentation(augment, resolution=resolution, mean=self.mean, std=self.std)
        # Without augmentation every epoch has the same pixels, so arrays are resized only once.
        self._plain = source.kind != "folder" and is_plain(augment) and self._fits(self.counts["train"], resolution)

    @property
    def counts(self) -> dict[str, int]:
        """Images in each split: all but those ``left_out`` as unreadable."""
        return {name: len(split) for name, split in self._source.splits.items()}

    @property
    def class_counts(self) -> np.ndarray:
        """Images of each class ``(classes,)`` over all splits."""
        return sum(np.bincount(split.labels, minlength=len(self.classes)) for split in self._source.splits.values())

    @property
    def unused(self) -> tuple[str, ...]:
        """Files and folders of the data's folder that are not used, with the reason: a sentence each."""
        return self._source.unused

    def steps(self, batch_size: int, *, images: int | None = None) -> int:
        """Batches an epoch, of so many ``images``: by default of all training images."""
        return max(1, (self.counts["train"] if images is None else images) // batch_size)

    @property
    def training_split(self) -> Split:
        """The training images, in the order of the ``rows`` of ``train_batches``."""
        return self._source.splits["train"]

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 ``(b, c, r, r)`` to float32 in channels_last, on the same device: /255, minus mean, over std."""
        mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (self.mean, self.std))
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        return pixels.div_(255).sub_(mean).div_(std)

    def try_augmentation(self) -> None:
        """Augments small grey images as training would, often enough to try every random operation.

        Raises whatever timm, torchvision or Pillow raise.
        """
        augment = augmentation(self._recipe_augment, resolution=_TRIAL_SIDE, mean=self.mean, std=self.std)
        image = Image.new("L" if self.channels == 1 else "RGB", (_TRIAL_SIDE, _TRIAL_SIDE), "gray")
        for _ in range(_TRIAL_IMAGES):
            augment(image)

    # -- batches
    # ------------------------------------------------------------------------------------------------------

    def train_batches(
        self,
        epoch: int,
        batch_size: int,
        *,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
        rows: np.ndarray | None = None,
        draw: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled, augmented ``(b, channels, R, R)`` uint8 and ``(b,)`` int64 at the largest resolution R.

        Gives one batch for each step of the epoch from ``start`` on. A last partial batch is dropped unless
        it is the only one. Unreadable images are left out, so that their batch is smaller, or empty.

        Process ``rank`` of ``ranks`` gets its part of each batch: two images or more, or none. All parts
        together have the same images with the same augmentation for any number of processes.

        ``rows``: of which training images; all by default. ``draw``: another one shuffles and augments otherwise.

        Raises ``UserError`` when no image of a whole epoch can be read.
        """
        rng = np.random.default_rng([self._seed, epoch, draw])  # a draw of 0 is that of two numbers
        train = self._source.splits["train"]
        order = rng.permutation(len(train) if rows is None else rows)
        seeds = rng.integers(2**32, size=len(train), dtype=np.uint32)
        steps = range(start, self.steps(batch_size, images=len(order)))
        batches = [order[step * batch_size : (step + 1) * batch_size] for step in steps]
        shares = [own_share(batch, rank=rank, ranks=ranks) for batch in batches]
        if self._plain:
            images, labels = self._cached("train", None, np.arange(len(train)), self._augment, self.resolution)
            yield from ((images[share], labels[share]) for share in shares)
            return

        any_read = False
        for images, labels in self._load("train", shares, self._augment, seeds, keep_empty=True):
            any_read = any_read or len(labels) > 0
            yield images, labels
        if not any_read and start == 0:
            path, reason = next(iter(self.broken.items()))
            raise UserError(f"none of the {len(order)} training images can be read; the first, {path}: {reason}")

    def split_batches(
        self, split: str, *, resolution: int, batch_size: int = 256, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass in a fixed order, not augmented: ``(b, channels, r, r)`` uint8 and ``(b,)`` int64.

        ``train`` is shuffled, always in the same way, so that its first images cover the classes. With
        ``limit`` any split is shuffled like this, and the first images are given. Recent results stay in
        memory, up to ``cache_bytes`` in total. Batches are views of them: do not write to them.

        Raises ``UserError`` for an unreadable image, except in ``train``, where it is left out;
        ``KeyError`` for an unknown split.
        """
        labels = self._source.splits[split].labels
        shuffled = split == "train" or (limit is not None and limit < len(labels))
        order = (spread_order(labels, SPLIT_SEED) if shuffled else np.arange(len(labels)))[:limit]
        transform = partial(evaluation_pixels, resolution=resolution, crop_pct=self.crop_pct)
        if not self._fits(len(order), resolution):
            yield from self._load(split, _chunks(order, batch_size), transform)
            return

        images, read_labels = self._cached(split, len(order), order, transform, resolution)
        for start in range(0, len(images), batch_size):
            yield images[start : start + batch_size], read_labels[start : start + batch_size]

    # -- reading
    # ------------------------------------------------------------------------------------------------------

    def _fits(self, images: int, size: int) -> bool:
        return images * self.channels * size**2 <= self._cache.max_bytes

    def _cached(
        self, split: str, limit: int | None, order: np.ndarray, transform: Callable, size: int
    ) -> tuple[Tensor, Tensor]:
        """The result of ``_load_all``, from memory if it is there."""
        return self._cache.get(
            (split, limit, size),
            lambda: self._load_all(split, order, transform, size),
            n_bytes=len(order) * self.channels * size**2,
        )

    def _load_all(self, split: str, order: np.ndarray, transform: Callable, size: int) -> tuple[Tensor, Tensor]:
        """Every readable image of ``order``, behind a progress bar when it takes longer than two seconds."""
        images = torch.empty(len(order), self.channels, size, size, dtype=torch.uint8)
        labels = torch.empty(len(order), dtype=torch.int64)
        done = 0
        name = f"reading {split} at {size} px"
        with tqdm(total=len(order), desc=name, unit="img", delay=2, leave=False, disable=None) as bar:
            for batch, batch_labels in self._load(split, _chunks(order, LOAD_BATCH), transform):
                end = done + len(batch)
                images[done:end], labels[done:end] = batch, batch_labels
                bar.update(len(batch))
                done = end
        return images[:done], labels[:done]

    def _load(
        self,
        split: str,
        rows: Sequence[np.ndarray],
        transform: Callable,
        seeds: np.ndarray | None = None,
        *,
        keep_empty: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Decodes a batch for each array of ``rows``; batches without a readable image only with ``keep_empty``."""
        decode = Decode(self._source.splits[split], "L" if self.channels == 1 else "RGB", transform, seeds)
        loader = DataLoader(
            decode,
            batch_size=None,
            sampler=rows,
            collate_fn=identity_collate,
            num_workers=min(self._workers, len(rows)),
            worker_init_fn=ignore_interrupt,
            generator=torch.Generator(),  # the loader would draw from the global one
        )

        # Workers start here, and inherit the blocked signal.
        with block_sigint():
            batches = iter(loader)
        for batch in batches:
            for path, reason in batch.broken:
                self._report_broken(split, path, reason)
            if keep_empty or len(batch.labels):
                yield torch.from_numpy(batch.images), torch.from_numpy(batch.labels)

    def _report_broken(self, split: str, path: str, reason: str) -> None:
        if split != "train":
            raise UserError(f"{split} image {path} cannot be read ({reason}); fix or delete it")
        if path not in self.broken:
            self.broken[path] = reason
            tqdm.write(f"training image {path} cannot be read ({reason}); left out", file=sys.stderr)

    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel, of pixels in 0..1."""
        if self._source.kind == "folder" and self.channels == 3:
            return tuple(IMAGENET_DEFAULT_MEAN), tuple(IMAGENET_DEFAULT_STD)
        batches = self.split_batches("train", resolution=self.resolution, limit=STATISTICS_IMAGES)
        statistics = pixel_statistics(images for images, _ in batches)
        if statistics is None:
            path, reason = next(iter(self.broken.items()))
            raise UserError(f"none of {len(self.broken)} training images can be read; the first, {path}: {reason}")
        return statistics


def _chunks(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]
