"""Which training images teach the architecture of a differentiable search, and which teach its weights.

A keyed hash of an image's name says (of its pixels, where it has no name): a number in [0, 1), its place on a circle.
An arc of it, as long as the share, teaches the architecture. On few images the arc moves on by its own length each
epoch (k-fold architecture validation): every image then teaches weights in some epochs and the architecture in others.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cached_property
from itertools import islice

import numpy as np
from torch import Tensor

from ofa.data.loader import Data
from ofa.data.readers.source import Split
from ofa.data.readers.splits import hashes

FEW_IMAGES = 10_000  # with fewer training images the arc moves on
_KEY = b"once-for-all architecture"  # another one than that of the splits, which these images passed already


class SearchImages:
    """The training images of a differentiable search, in two parts.

    Args:
        share: of the images that teach the architecture, below 1; 0: none, the weights' images teach both.
        batch_size: of a step, of either part, however many processes share it.

    Raises ``ValueError`` when one of the parts has fewer than two images.
    """

    def __init__(self, data: Data, *, share: float, batch_size: int) -> None:
        self.data, self.share, self.batch_size = data, share, batch_size
        for turn in range(self._turns):
            images, architecture = data.counts["train"], int(self.teaches_architecture(turn).sum())
            if images - architecture < 2 or (share and architecture < 2):
                raise ValueError(
                    f"architecture_share: {share:g} of {images} training images leaves "
                    f"{images - architecture} for the weights and {architecture} for the architecture; each needs two: "
                    "take a share nearer to 0.5, or add images"
                )

    @property
    def alternates(self) -> bool:
        """Whether every image teaches both, in different epochs: there are few."""
        return self.share > 0 and self.data.counts["train"] < FEW_IMAGES

    @cached_property
    def steps(self) -> int:
        """Of an epoch: of all turns the fewest batches of weights, so that each epoch has as many."""
        sizes = [int((~self.teaches_architecture(epoch)).sum()) for epoch in range(self._turns)]
        return self.data.steps(self.batch_size, images=min(sizes))

    def teaches_architecture(self, epoch: int) -> np.ndarray:
        """Which training images teach the architecture in an epoch: boolean ``(n,)``; the others teach the weights."""
        start = epoch % self._turns * self.share
        return (self._places - start) % 1.0 < self.share

    def batches(self, epoch: int, start: int, *, rank: int = 0, ranks: int = 1) -> Iterator[tuple[Tensor, ...]]:
        """Images and labels for the weights, then images and labels for the architecture (if it has some of its own),
        from step ``start`` on.

        As ``Data.train_batches`` gives them. The architecture's are cycled, in a new order in every pass.
        """
        chosen = self.teaches_architecture(epoch)
        weights, architecture = np.flatnonzero(~chosen), np.flatnonzero(chosen)
        share = {"batch_size": self.batch_size, "rank": rank, "ranks": ranks}
        steps = self.steps - start
        own = islice(self.data.train_batches(epoch, start=start, rows=weights, **share), steps)
        if not len(architecture):
            yield from own
            return
        others = self._cycled(epoch, start, architecture, share)
        yield from ((*one, *other) for one, other in zip(own, others, strict=False))

    def _cycled(
        self, epoch: int, start: int, rows: np.ndarray, share: dict[str, int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of ``rows`` without end, as if the first ``start`` had been taken."""
        passed, inside = divmod(start, self.data.steps(self.batch_size, images=len(rows)))
        while True:
            yield from self.data.train_batches(epoch, start=inside, rows=rows, draw=1 + passed, **share)
            passed, inside = passed + 1, 0

    @property
    def _turns(self) -> int:
        """Epochs after which every image has taught both."""
        return math.ceil(1 / min(self.share, 1 - self.share)) if self.alternates else 1

    @cached_property
    def _places(self) -> np.ndarray:
        return hashes(_names(self.data.training_split), key=_KEY)


def few_images(count: int) -> str:
    """The warning about ``count`` training images, of which ``alternates`` is true."""
    return (
        f"relax     {count:,} training images are few for a differentiable search (below {FEW_IMAGES:,}): expect "
        "noise; each of them teaches the weights in some epochs and the architecture in others"
    )


def _names(split: Split) -> Iterator[bytes]:
    """A name for each image: its path, or its pixels."""
    for image in split.images:
        yield os.fsencode(image) if split.root is not None else image.tobytes()
