"""Images in memory as training data: what a differentiable search from Python learns from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ofa.data.readers.source import Split
from ofa.errors import UserError
from ofa.supernet.image_batches import Normalisation, image_batches
from ofa.supernet.training.distributed import own_share


class ArrayImages:
    """Normalised images and their classes, with the batches of ``ofa.data.loader.Data``; nothing is augmented.

    Args:
        images: float ``(n, channels, height, width)``, an array or tensor; or, without ``labels``, a loader of batches
            of images and labels.
        labels: classes ``(n,)``.
        normalisation: that of the network, where it is known.
        seed: of the order of batches.

    Raises ``UserError`` for images that are not normalised, and labels that are not one a image.
    """

    def __init__(self, images: Any, labels: Any = None, *, normalisation: Normalisation | None, seed: int) -> None:
        pairs = [(images, labels)] if labels is not None else list(_pairs(images))
        try:
            batches = (batch for batch, _ in pairs)
            self._images = torch.cat(list(image_batches(batches, normalisation=normalisation, name="search"))).float()
            self._labels = torch.cat([torch.as_tensor(part).reshape(-1) for _, part in pairs]).long()
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"search: {error}") from error
        if len(self._images) != len(self._labels):
            raise UserError(f"search: {len(self._images)} images and {len(self._labels)} labels; give each image one")
        self._seed = seed

    @property
    def counts(self) -> dict[str, int]:
        return {"train": len(self._labels)}

    @property
    def training_split(self) -> Split:
        return Split(self._images.numpy(force=True), self._labels.numpy(force=True))

    def steps(self, batch_size: int, *, images: int | None = None) -> int:
        """Batches an epoch, of so many ``images``: by default of all."""
        return max(1, (len(self._labels) if images is None else images) // batch_size)

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
        """Shuffled images and labels: see ``Data.train_batches``."""
        rng = np.random.default_rng([self._seed, epoch, draw])
        order = rng.permutation(len(self._labels) if rows is None else rows)
        for step in range(start, self.steps(batch_size, images=len(order))):
            batch = own_share(order[step * batch_size : (step + 1) * batch_size], rank=rank, ranks=ranks)
            yield self._images[batch], self._labels[batch]

    def batches(self, rows: np.ndarray, *, size: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of some rows in their order."""
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield self._images[part], self._labels[part]


def _pairs(loader: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Raises ``UserError`` for what gives no pairs."""
    for number, batch in enumerate(loader):
        if isinstance(batch, np.ndarray | Tensor) or len(batch) < 2:
            raise UserError(f"search: batch {number} has no labels; give labels=, or a loader of images and labels")
        yield batch[0], batch[1]
