"""Decoded images in memory, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

Images = tuple[Tensor, Tensor]


class BatchCache:
    """Images and labels by key. When the cache is full, the least recently used are dropped."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._cached: OrderedDict[Hashable, Images] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], Images], *, n_bytes: int) -> Images:
        """The result of ``load()``, from memory if it is there. ``n_bytes`` is the size of the images it returns."""
        if key not in self._cached:
            size = sum(images.nbytes for images, _ in self._cached.values())
            while self._cached and size + n_bytes > self.max_bytes:
                _, (oldest, _) = self._cached.popitem(last=False)
                size -= oldest.nbytes
            self._cached[key] = load()
        self._cached.move_to_end(key)
        return self._cached[key]
