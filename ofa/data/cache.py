"""Decoded images in memory, as many as a number of bytes allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

Images = tuple[Tensor, Tensor]


class BatchCache:
    """Images and labels by key. When there is no more room, the least recently used go."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, Images] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], Images], *, n_bytes: int) -> Images:
        """What ``load()`` gives, from memory when it is there. ``n_bytes``: of the images that it will give."""
        if key not in self._kept:
            held = sum(images.nbytes for images, _ in self._kept.values())
            while self._kept and held + n_bytes > self.max_bytes:
                held -= self._kept.popitem(last=False)[1][0].nbytes
            self._kept[key] = load()
        self._kept.move_to_end(key)
        return self._kept[key]
